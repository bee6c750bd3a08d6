"""Whatever is typed and whatever lies in a file: an answer in findings and a status of the contract, never a traceback.

A fixed number of examples, the same each time.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotrain_llm.cli.main import main
from autotrain_llm.config.registry import PARAMS, TRAINERS
from fuzz.kills import command_at, commands


@pytest.mark.quick
def test_kills_meet_every_trainer_search_and_kind_in_turn(tmp_path):
    kinds = list(commands(None, tmp_path))
    most = len(kinds) * max(map(len, kinds))
    names = [command_at(index, kinds).name for index in range(most)]
    assert {*TRAINERS, "stages"} <= {*names} and len({*names}) == sum(map(len, kinds))


FIXED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# What reads more than a command and its rows, or waits for somebody.
LEFT_OUT = {"interactive", "inference", "write_config", "save_plan", "rl_reward_fn"}
FLAGS = sorted(param.flag for param in PARAMS.values() if param.name not in LEFT_OUT and param.name != "format")
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "1e400",
            "nan",
            "inf",
            "-inf",
            "none",
            "true",
            "no",
            "[]",
            "{}",
            "[1]",
            '{"lr": 1}',
            "~",
            "/",
            "../..",
            "\x00",
        ]
    ),
    st.sampled_from(
        [
            "a,b",
            "scratch:1m",
            "rows.jsonl",
            "runs/x@best",
            "{{ prompt }}",
            "9" * 400,
            "1_0",
            "٣",
            "-",
            "--",
            "'",
            '"',
            "\ud800",
        ]
    ),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
)
WORDS = st.one_of(
    st.sampled_from(FLAGS).map(lambda flag: [flag]),
    st.tuples(st.sampled_from(FLAGS), VALUES).map(list),
    st.tuples(st.sampled_from(FLAGS), VALUES).map(lambda pair: ["=".join(pair)]),
    st.tuples(st.sampled_from(FLAGS), VALUES).map(lambda pair: [pair[0].replace("--", "--no-", 1), pair[1]]),
    VALUES.map(lambda value: [value]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
CELLS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool", "x"]) | CELLS,
            "content": st.text(max_size=9) | CELLS,
        },
    ),
    max_size=4,
)
COLUMNS = ["text", "messages", "prompt", "completion", "chosen", "rejected", "label", "tools"]
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), st.text(max_size=9) | TURNS | CELLS, max_size=4), max_size=6)


def answer(words: list[str]) -> dict:
    """The document that a command answers with; the status is one of the contract and says what the findings say."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    document = json.loads(out.getvalue())
    assert "Traceback" not in err.getvalue()
    assert all(finding["code"] != "R102" for finding in document["findings"]), (words, document["findings"])
    errors = [finding for finding in document["findings"] if finding["severity"] == "error"]
    assert status in (0, 2) and (status == 2 or not errors), (words, status, errors)
    assert status == 0 or document["findings"]
    return document


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "rows.jsonl").write_text('{"text": "One."}\n{"text": "Two."}\n')


@FIXED
@given(words=st.lists(WORDS, max_size=5), fix=st.booleans())
def test_whatever_is_typed_is_answered(words, fix):
    flat = [word for few in words for word in few]
    start = [
        "llm",
        "--trainer",
        "sft",
        "--model",
        "scratch:1m",
        "--data-path",
        "rows.jsonl",
        "--lr",
        "1e-3",
        "--epochs",
        "1",
        "--batch-size",
        "1",
    ]
    answer([*start, *flat, *(["--fix"] if fix else []), "--offline", "--dry-run", "--format", "json"])


@FIXED
@given(document=st.dictionaries(st.sampled_from(sorted(PARAMS)) | st.text(max_size=8), CELLS, max_size=5) | CELLS)
def test_whatever_a_config_holds_is_answered(document):
    with contextlib.suppress(UnicodeEncodeError):
        Path("run.json").write_text(json.dumps(document))
        answer(["llm", "--config", "run.json", "--offline", "--dry-run", "--format", "json"])
        answer(["check", "run.json", "--flags-only", "--format", "json"])


@FIXED
@given(
    rows=ROWS,
    trainer=st.sampled_from(["sft", "dpo", "kto", "reward", "generic"]),
    ending=st.sampled_from(["jsonl", "json"]),
)
def test_whatever_rows_hold_is_answered(rows, trainer, ending):
    text = json.dumps(rows) if ending == "json" else "".join(json.dumps(row) + "\n" for row in rows)
    Path(f"fuzz.{ending}").write_text(text)
    _check_rows(f"fuzz.{ending}", trainer)


@FIXED
@given(
    content=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ending=st.sampled_from(["jsonl", "json", "csv", "txt", "parquet", "tsv"]),
)
def test_whatever_bytes_a_file_holds_is_answered(content, ending):
    Path(f"fuzz.{ending}").write_bytes(content)
    _check_rows(f"fuzz.{ending}", "sft")


def _check_rows(name: str, trainer: str) -> None:
    assert trainer in TRAINERS
    words = [
        "--model",
        "scratch:1m",
        "--lr",
        "1e-3",
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--prompt-text-column",
        "prompt",
    ]
    words += ["--text-column", "chosen", "--rejected-text-column", "rejected"] if trainer in ("dpo", "reward") else []
    answer(["llm", "--trainer", trainer, "--data-path", name, *words, "--dry-run", "--format", "json"])
