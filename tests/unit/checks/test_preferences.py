"""What is said about preference trainers before anything is loaded: the reference, its files, and what the plan decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.checks.rules.preferences import without_a_single_row
from autotrain_llm.config.resolved import resolve
from autotrain_llm.models.scratch import train_tokenizer
from autotrain_llm.planning.plan import ReferencePlan
from autotrain_llm.planning.summary import summary
from support.rows import write_rows

PAIRS = [{"prompt": f"What is {n}?", "chosen": f" It is {n}.", "rejected": " Not that."} for n in range(12)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", PAIRS)


def checked(data: Path, model: Path, trainer: str = "dpo", **flags: Any) -> Checked:
    columns = {} if trainer == "kto" else {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    command = {
        "trainer": trainer,
        "model": str(model),
        "data_path": str(data),
        "lr": 5e-7,
        "epochs": 1.0,
        "batch_size": 4,
    }
    return preflight(resolve({**command, **columns, "dry_run": True, "mixed_precision": "fp32", **flags}))


def codes(result: Checked) -> list[str]:
    return [finding.code for finding in result.findings]


def test_a_reference_with_the_same_tokenizer_is_fine(data: Path, light_llama: Path, light_teacher: Path) -> None:
    result = checked(data, light_llama, model_ref=str(light_teacher))
    assert codes(result) == [] and result.plan is not None
    assert result.plan.objective.reference == ReferencePlan(
        "another model", str(light_teacher), when="online, with each batch", why="no row is trained on more than once"
    )


def test_a_reference_with_another_vocabulary_is_refused(
    data: Path, light_llama: Path, light_teacher: Path, tmp_path: Path
) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(light_teacher, other)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (other / name).unlink(missing_ok=True)
    train_tokenizer(["completely other words, zebras and quaggas"] * 3, other)
    result = checked(data, light_llama, model_ref=str(other))
    assert codes(result) == ["M174"] and result.refused
    assert "another vocabulary" in result.findings[0].message and result.findings[0].parameters == ("model_ref",)


@pytest.mark.parametrize("peft", [False, True])
def test_the_files_of_a_reference_are_checked_like_the_models(
    peft: bool, data: Path, light_llama: Path, light_encoder: Path, light_scorer: Path, tmp_path: Path
) -> None:
    assert codes(checked(data, light_llama, model_ref=str(light_encoder), peft=peft, lr=1e-5)) == ["M142"]
    assert codes(checked(data, light_llama, model_ref=str(light_scorer), peft=peft, lr=1e-5)) == ["M142"]
    missing = checked(data, light_llama, model_ref=str(tmp_path / "nothing"), peft=peft, lr=1e-5)
    assert missing.refused and missing.findings[0].parameters == ("model_ref",)


def test_a_reference_that_orpo_has_no_use_for_is_not_even_looked_at(data: Path, light_llama: Path) -> None:
    result = checked(data, light_llama, trainer="orpo", model_ref="/not/there")
    assert codes(result) == ["P107"] and result.plan is not None
    assert result.plan.objective.reference is None and "reference" not in result.plan.as_json()["objective"]


@pytest.mark.parametrize(
    ("trainer", "flags", "when"),
    [
        ("dpo", {}, "online, with each batch"),
        ("dpo", {"epochs": 2.0}, "once, before training"),
        ("dpo", {"max_steps": 2}, "online, with each batch"),
        ("dpo", {"max_steps": 4}, "once, before training"),
        ("dpo", {"epochs": 2.0, "engine": "trl"}, "online, with each batch"),
        ("kto", {"epochs": 2.0}, "online, with each batch"),
    ],
)
def test_the_plan_says_when_the_reference_is_computed_and_why(
    trainer: str, flags: dict[str, Any], when: str, data: Path, light_llama: Path
) -> None:
    plan = checked(data, light_llama, trainer, **flags).plan
    assert plan is not None
    assert plan.objective.reference.when == when
    (line,) = [row for _, part in plan.summary() for row in part if row[0] == "reference"]
    assert when in line[1] and line[2] == plan.objective.reference.why


def test_where_memory_would_not_hold_a_second_model_it_is_computed_beforehand(
    data: Path, light_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotrain_llm.context.machine import Machine

    monkeypatch.setattr(Machine, "device_memory", 1000)
    for flags, when in (({}, "once, before training"), ({"peft": True, "lr": 1e-5}, "online, with each batch")):
        plan = checked(data, light_llama, **flags).plan
        assert plan is not None and plan.objective.reference.when == when


def test_a_second_model_is_part_of_the_estimate(data: Path, light_llama: Path) -> None:
    plans = [checked(data, light_llama, **flags).plan for flags in ({}, {"peft": True, "lr": 1e-5}, {"epochs": 2.0})]
    whole, adapter, twice = (plan.memory.memory.get("reference", 0) for plan in plans if plan is not None)
    assert whole > 0
    assert (adapter, twice) == (0, 0)


def test_pairs_taken_apart_are_twice_as_many_rows(data: Path, light_llama: Path) -> None:
    of_pairs, of_answers = (checked(data, light_llama, trainer).plan for trainer in ("dpo", "kto"))
    assert of_pairs is not None and of_answers is not None
    assert (of_pairs.steps, of_answers.steps) == (3, 6)


def test_what_the_limits_of_prompt_and_answer_cut_is_counted(data: Path, light_llama: Path) -> None:
    for trainer in ("dpo", "orpo", "kto"):
        for flags in ({"max_prompt_length": 3}, {"max_completion_length": 2}):
            plan = checked(data, light_llama, trainer, **flags).plan
            assert plan is not None and plan.data.truncated_rows == 12, (trainer, flags)


def test_labelled_rows_are_cut_on_both_sides_too(light_llama: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": number % 2 == 0}
        for number, row in enumerate(PAIRS)
    ]
    labelled = write_rows(tmp_path / "labelled.jsonl", rows)
    result = checked(labelled, light_llama, "kto", max_prompt_length=3, max_completion_length=2)
    assert result.plan is not None and result.plan.data.truncated_rows == 12
    assert result.plan.data.tokens.max > 5
    prepared = result.context.prepared
    assert prepared is not None
    for ids, trained in prepared.train:
        assert len(ids) == 5 and trained.tolist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_batch_size_that_kto_is_offered_leaves_no_single_row(processes: int) -> None:
    for size in range(2, 9):
        for rows in range(2, 120):
            if rows % (size * processes) == 1:
                other = without_a_single_row(rows, size, processes)
                assert other is not None and other * processes > 1 and rows % (other * processes) != 1


MARKED = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


@pytest.fixture
def chats(light_llama: Path, tmp_path: Path) -> Path:
    """A model that was trained on conversations, with its template in its tokenizer."""
    import json
    import shutil

    folder = tmp_path / "chats"
    shutil.copytree(light_llama, folder)
    (folder / "prompt_format.json").write_text('{"rows": "chat", "template": "tokenizer"}', encoding="utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": MARKED}), encoding="utf-8")
    return folder


def test_another_template_than_that_of_the_model_s_training_is_said(data: Path, chats: Path) -> None:
    assert codes(checked(data, chats, chat_template="tokenizer")) == []
    (told,) = [one for one in checked(data, chats, chat_template="vicuna").findings if one.code == "D245"]
    assert told.changes == {"chat_template": "tokenizer"}


def test_the_plan_says_where_plain_text_is_written_without_the_template_of_the_tokenizer(
    data: Path, chats: Path
) -> None:
    (chats / "prompt_format.json").unlink()
    plain, written = checked(data, chats), checked(data, chats, chat_template="tokenizer")
    assert plain.plan is not None and plain.plan.data.unused_template
    notes = [row[2] for _, rows in summary(plain.plan) for row in rows if row[0] == "rows"]
    assert notes == ["plain text: the tokenizer's chat template is applied with --chat-template tokenizer only"]
    assert written.plan is not None and not written.plan.data.unused_template


def test_no_column_of_rejected_answers_is_needed_where_a_judgement_tells_them(
    light_llama: Path, tmp_path: Path
) -> None:
    answers = [(f"It is {n}.", f"No, not {n}.") for n in range(8)]
    votes = [
        {"question": f"What is {n}?", "answer_a": pair[n % 2], "answer_b": pair[1 - n % 2], "winner": "ab"[n % 2]}
        for n, pair in enumerate(answers)
    ]
    rows = write_rows(tmp_path / "votes.jsonl", votes)
    whole = checked(rows, light_llama, prompt_text_column="question", rejected_text_column=None)
    assert codes(whole) == ["D193"], [finding.message for finding in whole.findings]
    without = checked(rows, light_llama, prompt_text_column=None, rejected_text_column=None)
    (finding,) = [finding for finding in without.findings if finding.code == "P201"]
    assert finding.parameters == ("prompt_text_column",)
