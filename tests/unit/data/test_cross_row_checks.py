"""Rows beside each other: near duplicates, near overlap, contradictions, secrets, answers that never end; and that clean rows draw none of it."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import check, plan
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.quality.cross_row_checks import check_rows
from autotrain_llm.data.request import DataRequest
from autotrain_llm.planning.plan import LabelledAnswers
from support import paths
from support.light_models import build_light_model
from support.rows import write_rows

SHARED = paths.SHARED / "data"
FLAGS: dict[str, Any] = {"lr": 1e-5, "epochs": 1, "batch_size": 4, "dry_run": True, "trainer": "sft"}
WORDS = [
    f"{start}{end}" for start in "bcdfgklmnprst" for end in ("ana", "ole", "uri", "est", "ima", "ong", "ar", "ift")
]


def prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def questions(count: int, seed: int = 0) -> list[dict[str, str]]:
    chance = random.Random(seed)
    return [{"prompt": prose(chance, 12), "completion": prose(chance, 60)} for _ in range(count)]


def looked(folder: Path, rows: list[dict[str, Any]], shape: str = "conversations", **settings: Any) -> dict[str, str]:
    """Messages by code."""
    checks = {name: settings.pop(name) for name in ("most", "secrets") if name in settings}
    evaluation = settings.pop("evaluation", None)
    if evaluation is not None:
        settings["eval_path"] = str(write_rows(folder / "eval.jsonl", evaluation))
    dataset = open_data(DataRequest(str(write_rows(folder / "train.jsonl", rows)), shape, **settings))
    return {finding.code: finding.message for finding in check_rows(dataset, **checks).findings}


# -- rows that are nearly the same


def test_rows_that_are_nearly_earlier_ones_are_counted(tmp_path: Path) -> None:
    rows = questions(40)
    copies = [{**row, "completion": row["completion"] + " so"} for row in rows[:20]]
    message = looked(tmp_path, rows + copies)["D161"]
    assert "row 41" in message and "row 1 (" in message and "20 of 60" in message


def test_a_few_near_duplicates_or_exact_ones_are_no_near_duplicates(tmp_path: Path) -> None:
    rows = questions(40)
    few = [{**row, "completion": row["completion"] + " so"} for row in rows[:4]]
    assert looked(tmp_path, rows + few + rows[:20]) == {}


def test_rows_that_share_a_pattern_are_not_taken_for_copies(tmp_path: Path) -> None:
    chance = random.Random(0)
    pattern = "You play a game with three in a row on a board of nine fields and say where to put your next mark now: "
    rows = [
        {"prompt": f"{pattern} {' '.join(chance.choices('XO_', k=9))}", "completion": f"field {number % 9}"}
        for number in range(200)
    ]
    assert looked(tmp_path, rows, evaluation=[*rows[:0], {**rows[0], "completion": "field nine"}]) == {}


def test_evaluation_rows_that_are_nearly_trained_on_are_named(tmp_path: Path) -> None:
    rows = questions(60)
    near = [{**row, "completion": row["completion"] + " so"} for row in rows[10:13]]
    message = looked(tmp_path, rows, evaluation=near + questions(30, seed=1))["D162"]
    assert (
        "eval.jsonl, row 1" in message
        and "train.jsonl, which is trained on" in message
        and "3 of 33 evaluation rows" in message
    )
    assert looked(tmp_path, rows, evaluation=questions(30, seed=1)) == {}


def test_what_was_drawn_from_many_rows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotrain_llm.data.quality.cross_row_checks.MOST_ROWS", 30)
    dataset = open_data(DataRequest(str(write_rows(tmp_path / "train.jsonl", questions(50)))))
    (left,) = check_rows(dataset).not_checked
    assert "30 of 50 rows" in left


# -- rows that contradict each other

PAIR = {"prompt": "Say a colour.", "chosen": "Blue.", "rejected": "Four."}


def test_a_pair_that_is_preferred_both_ways_contradicts_itself(tmp_path: Path) -> None:
    turned = {**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    message = looked(tmp_path, [PAIR, {**PAIR, "prompt": "Say a word."}, turned], "preferences")["D163"]
    assert "row 3" in message and "row 1" in message
    assert looked(tmp_path, [PAIR, PAIR, {**turned, "prompt": "Say a number."}], "preferences") == {}


def test_an_answer_that_is_labelled_both_ways_contradicts_itself(tmp_path: Path) -> None:
    row = {"prompt": "Say a colour.", "completion": "Blue.", "label": True}
    names = {"trainer": "kto"}
    assert "row 1" in looked(tmp_path, [row, {**row, "label": False}], "preferences", **names)["D163"]
    assert looked(tmp_path, [row, row, {**row, "completion": "Four.", "label": False}], "preferences", **names) == {}


def test_one_prompt_with_two_answers_is_ordinary(tmp_path: Path) -> None:
    rows = [{"prompt": "Write a poem.", "completion": prose(random.Random(seed), 30)} for seed in range(12)]
    assert looked(tmp_path, rows) == {}


# -- secrets

SECRETS = {
    "a GitHub token": "ghp_aB3dE6gH1jK4mN7pQ0sT2uV5wX8yZ9aB3dE6",
    "an AWS access key": "AKIAQ3EGRTW5LMNB7XYZ",
    "a Hugging Face token": "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "an OpenAI key": "sk-proj-aB3dE6gH1jK4mN7pQ0sT2uV5wX8yZ9",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA",
    "an address with a password": "postgresql://me:hunter42@db.internal/rows",
    "an e-mail address": "jane.doe@some-company.de",
    "a credit card number": "4111 1111 1111 1111",
    "an IBAN": "DE89 3704 0044 0532 0130 00",
    "a telephone number": "+49 30 1234567",
    "a US social security number": "536-22-1947",
}


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Random characters: a key that is written out would be taken for one that has leaked."""
    return "".join(random.Random(count + len(alphabet)).choices(alphabet, k=count))


HEX = "0123456789abcdef"
SECRETS |= {
    "an AWS secret key": f"aws_secret_access_key = {letters(40)}",
    "an Azure key": f"AccountName=x;AccountKey={letters(86)}==",
    "a Google API key": "AIza" + letters(35),
    "a Google OAuth secret": "GOCSPX-" + letters(28),
    "a Slack token": f"xoxb-{letters(12, string.digits)}-{letters(24)}",
    "a Slack webhook": f"https://hooks.slack.com/services/T{letters(8).upper()}/B{letters(9).upper()}/{letters(24)}",
    "a Discord token": f"M{letters(23)}.{letters(6)}.{letters(27)}",
    "a Discord webhook": f"https://discord.com/api/webhooks/{letters(18, '123456789')}/{letters(68)}",
    "a Telegram bot token": f"{letters(10, '123456789')}:AA{letters(33)}",
    "a Twilio key": "SK" + letters(32, HEX),
    "a Mailchimp key": letters(32, HEX) + "-us12",
    "a PyPI token": "pypi-AgEIcHlwaS5vcmc" + letters(60),
    "a DigitalOcean token": "dop_v1_" + letters(64, HEX),
    "a Groq key": "gsk_" + letters(52),
    "an NVIDIA key": "nvapi-" + letters(64),
    "a Databricks token": "dapi" + letters(32, HEX),
    "a Shopify token": "shpat_" + letters(32, HEX),
    "a Replicate token": "r8_" + letters(37),
    "a GitLab token": "glpat-" + letters(20),
    "a Stripe key": "sk_live_" + letters(24),
    "an npm token": "npm_" + letters(36),
    "a SendGrid key": f"SG.{letters(22)}.{letters(43)}",
    "a signed web token (JWT)": f"eyJ{letters(20)}.eyJ{letters(30)}.{letters(40)}",
    "a password or key that is set": 'password="Tr0ub4dor&3x"',
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_found_and_not_printed(name: str, tmp_path: Path) -> None:
    rows = [*questions(2), {"prompt": "Who?", "completion": f"It is {SECRETS[name]}, I think."}]
    messages = list(looked(tmp_path, rows, secrets=True).values())
    assert len(messages) == 1 and name in messages[0] and "row 3" in messages[0]
    assert SECRETS[name] not in messages[0] and SECRETS[name][-7:] not in messages[0]
    assert looked(tmp_path, rows) == {}


@pytest.mark.parametrize(
    "text",
    [
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAIOSFODNN7EXAMPLE",
        "user@example.com",
        "4111 1111 1111 1112",  # the check digit is wrong
        "DE89 3704 0044 0532 0130 01",
        "-----BEGIN PUBLIC KEY-----",
        "https://host/path?a=b@c",
        "postgres://user:password@host/db",
        "1234567890123456 and 3.14159265358979 and 2024-05-17",
        "calculation for 355909190063-746 and 4212883012996",
        "the risk-assessment-of-a-very-long-compound-word",
        "password = request.form['password1']",
        "api_key: your-api-key-1234",
        "export OPENAI_API_KEY=$KEY2",
        "def login(password: str, token: str = 'none')",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str, tmp_path: Path) -> None:
    assert looked(tmp_path, [{"prompt": "Who?", "completion": text}], secrets=True) == {}


# -- through the command


def codes(data: Path, model: Path, **flags: Any) -> set[str]:
    return {finding.code for finding in check(**{**FLAGS, "model": str(model), "data_path": str(data), **flags})}


def test_answers_that_are_never_trained_to_end_are_reported(tmp_path: Path, light_llama: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", questions(12))
    assert "D157" in codes(data, light_llama, add_eos_token=False)
    assert "D157" not in codes(data, light_llama)


def test_a_template_whose_marks_leave_out_the_end_of_a_turn_is_reported(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 4
    data = write_rows(tmp_path / "rows.jsonl", rows)
    turn = "{%% if m['role'] == 'assistant' %%}{%% generation %%}{{ m['content'] }}%s<|im_end|>{%% else %%}{{ m['content'] }}<|im_end|>{%% endif %%}"
    outside, inside = (
        "{% for m in messages %}" + turn % order + "{% endfor %}" for order in ("{% endgeneration %}", "")
    )
    inside = inside.replace(
        "{{ m['content'] }}<|im_end|>{% else %}", "{{ m['content'] }}<|im_end|>{% endgeneration %}{% else %}"
    )
    for name, template, expected in (("outside", outside, True), ("inside", inside, False)):
        model = build_light_model(tmp_path / name)
        (model / "chat_template.jinja").write_text(template)
        assert ("D157" in codes(data, model)) is expected, name


def test_a_step_of_more_rows_than_there_are_is_reported(tmp_path: Path, light_llama: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", questions(12))
    assert "M180" in codes(data, light_llama, gradient_accumulation=4)
    assert "M180" not in codes(data, light_llama, gradient_accumulation=3)


def test_a_row_a_hundred_times_as_long_as_the_others_is_reported(tmp_path: Path, light_llama: Path) -> None:
    chance = random.Random(0)
    rows = [{"text": prose(chance, 4)} for _ in range(30)]
    assert "D153" not in codes(write_rows(tmp_path / "a.jsonl", [*rows, {"text": prose(chance, 100)}]), light_llama)
    assert "D153" in codes(write_rows(tmp_path / "b.jsonl", [*rows, {"text": prose(chance, 900)}]), light_llama)


def test_check_rows_reads_so_many_rows_in_a_dry_run_and_says_so(tmp_path: Path, light_llama: Path) -> None:
    rows = questions(30)
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {**FLAGS, "model": str(light_llama), "data_path": str(data)}
    made = plan(**flags, check_rows=10)
    assert made.data.rows == 10 and "10 rows" in made.data.not_checked[0]
    assert plan(**flags).data.not_checked == ()
    secret = {"prompt": "Who?", "completion": SECRETS["a GitHub token"]}
    with data.open("a") as file:
        file.write(json.dumps(secret) + "\n")
    assert codes(data, light_llama, check_secrets=True) == {"D165"}
    assert codes(data, light_llama, check_secrets=True, check_rows=10) == set()


def test_lengths_of_answers_and_labels_are_in_the_plan(tmp_path: Path, light_llama: Path) -> None:
    flags = {**FLAGS, "model": str(light_llama), "lr": 1e-6, "prompt_text_column": "prompt"}
    pairs = [{"prompt": "Say.", "chosen": "word " * 8, "rejected": f"{number} no"} for number in range(4)]
    data = write_rows(tmp_path / "pairs.jsonl", pairs)
    answers = plan(
        **flags | {"trainer": "dpo", "data_path": str(data), "rejected_text_column": "rejected"}
    ).data.answers
    assert answers.chosen_longer_share == 1.0 and answers.chosen_median > answers.rejected_median
    labels = [{"prompt": f"{number}?", "completion": "Yes.", "label": number == 0} for number in range(4)]
    data = write_rows(tmp_path / "labels.jsonl", labels)
    assert plan(**flags | {"trainer": "kto", "data_path": str(data)}).data.answers == LabelledAnswers(1, 3, 0.25)


@pytest.mark.skipif(not SHARED.is_dir(), reason="there are no shared data sets here")
@pytest.mark.parametrize(
    ("name", "shape"),
    [("alpaca_en_demo.json", "conversations"), ("wiki_demo.txt", "documents"), ("dpo_en_demo.json", "preferences")],
)
def test_real_data_is_clean(name: str, shape: str) -> None:
    assert check_rows(open_data(DataRequest(str(SHARED / name), shape))).findings == ()
