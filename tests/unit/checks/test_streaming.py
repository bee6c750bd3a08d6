"""What `--streaming` needs, and what it can't be combined with."""

from __future__ import annotations

import pytest

from autotrain_llm import check

STREAMED = {
    "streaming": True,
    "max_steps": 5,
    "lr": 1e-3,
    "batch_size": 2,
    "model": "scratch:100k",
    "data_path": "rows.jsonl",
}


def errors(**flags: object) -> list[str]:
    """The codes of errors; the rows are nowhere, so whatever is refused before they are read has no D101 beside it."""
    return [finding.code for finding in check(**{**STREAMED, **flags}) if finding.severity == "error"]


def test_only_the_number_of_steps_is_asked_for():
    assert errors(trainer="sft", max_steps=None, epochs=1) == ["D250"]
    assert [finding.fix for finding in check(**{**STREAMED, "max_steps": None}) if finding.code == "D250"] == [
        "--max-steps 1000"
    ]
    assert "P201" not in errors(trainer="sft", max_steps=None)
    assert errors(trainer="sft") == ["D101"]


@pytest.mark.parametrize("trainer", ["dpo", "kto", "reward", "ppo", "spo"])
def test_trainers_that_need_all_rows_refuse_a_stream(trainer):
    assert "P112" in errors(trainer=trainer) and "D101" not in errors(trainer=trainer)


@pytest.mark.parametrize(
    "flags",
    [
        {"use_sweep": True, "eval_dataset_path": "held.jsonl"},
        {"use_distillation": True, "teacher_model": "other"},
        {"data_config": "mix.yaml", "data_path": None},
        {"engine": "trl"},
        {"use_prepared": True},
    ],
)
def test_what_needs_all_rows_is_refused_by_name_before_anything_is_read(flags):
    found = [finding for finding in check(**{**STREAMED, "trainer": "sft", **flags}) if finding.code == "D251"]
    assert len(found) == 1 and found[0].changes == {"streaming": None}
    assert found[0].parameters[1] in flags


@pytest.mark.parametrize("split", ["0.1", "20"])
def test_rows_are_not_held_out_of_a_stream(split):
    assert "D252" in errors(trainer="sft", valid_split=split)
    assert "D252" not in errors(trainer="sft", valid_split="dev")
