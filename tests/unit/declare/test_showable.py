"""What comes from outside is shown without credentials and without characters that a terminal obeys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotrain_llm.checks.coverage import UncheckedItem
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.showable import showable, visible

TOKEN = "hf_abcdefghijklmnopqrst"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://anna:s3cret@host/rows.json", "https://anna:***@host/rows.json"),
        ("postgresql://u:p%40ss@db:5432/study", "postgresql://u:***@db:5432/study"),
        ("sqlite://user:pw@/x.db is no file", "sqlite://user:***@/x.db is no file"),
        ("nor a folder https:/u:pw@host", "nor a folder https:/u:***@host"),
        ("sqlite:////u:pw@/x.db", "sqlite:////u:***@/x.db"),
        ("https://abcdefghijklmnopqrstuv@host/x", "https://***@host/x"),
        ("https://host/x?password=abc&user=u", "https://host/x?password=***&user=u"),
        (f"belongs to no flag: {TOKEN}", "belongs to no flag: hf_***"),
        ("sk-abcdefghijklmnop", "sk-***"),
        ("https://host/a@b", "https://host/a@b"),
        ("anna@host and hf_x", "anna@host and hf_x"),
        (
            "hf_dataset_name, hf_username and --context-columns sk-learn-experiments",
            "hf_dataset_name, hf_username and --context-columns sk-learn-experiments",
        ),
        ("ghs_emissions_total", "ghs_emissions_total"),
        ("hf_aZbXcVdNfMg", "hf_***"),
        ("sk-proj-T4x9_aB3dE6gH8j-k2", "sk-***"),
    ],
)
def test_credentials_are_masked_and_the_rest_is_kept(text, shown):
    assert showable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x07\x9bc", "a\\x0db\\x07\\x9bc"),
        ("txt.\u202egpj", "txt.\\u202egpj"),
        ("caf\udce9", "caf\\udce9"),
        ("Grüße, 你好 👩‍👩‍👧\n\tx", "Grüße, 你好 👩‍👩‍👧\n\tx"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_an_escape(text, shown):
    assert visible(text) == shown


@given(st.text())
def test_what_is_shown_can_be_encoded_and_is_stable(text):
    shown = showable(text)
    assert (shown.encode("utf-8") and showable(shown) == shown) or not text
    assert not any(ord(char) < 0x20 and char not in "\n\t" for char in shown)


def test_a_finding_has_no_secret_in_any_form():
    finding = Finding(
        f"no folder https://u:{TOKEN}@host",
        f"--model {TOKEN}",
        ("model",),
        file=f"\x1b]0;{TOKEN}\x07",
        changes={"model": TOKEN},
    )
    assert TOKEN not in str(finding.as_json()) + finding.message + str(finding.fix)
    assert "\x1b" not in finding.file
    assert finding.changes["model"] == TOKEN, "what --fix types has to work"


@pytest.mark.parametrize("name", [TOKEN, "sk-proj-T4x9_aB3dE6gH8j-k2", "sk_proj_T4x9_aB3dE6gH8j_k2"])
def test_the_name_of_a_parameter_shows_no_token_as_a_flag_either(name):
    (shown,) = Finding("there is no such parameter", parameters=(name,)).parameters
    assert "4x9" not in flag_of(shown) and "efgh" not in flag_of(shown)


def test_what_was_not_checked_is_named_without_tokens():
    assert TOKEN not in json.dumps(UncheckedItem(f"stage {TOKEN}", TOKEN, how=TOKEN).as_json())


def test_no_text_of_a_finding_shows_a_token():
    texts = {name: f"{name} {TOKEN}" for name in ("message", "fix", "file")}
    finding = Finding(**texts, parameters=("lr", TOKEN), changes={"token": TOKEN}, code="P104")
    assert TOKEN not in json.dumps(finding.as_json()) and TOKEN not in " ".join(finding.parameters)
    assert finding.parameters[0] == "lr" and "message hf_***" in finding.message
