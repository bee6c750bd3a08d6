"""The plan as JSON and back, for every trainer and every mixin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import plan
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.serialise import BadDocument
from support.rows import write_rows

USUAL = {"lr": 1e-5, "epochs": 1, "batch_size": 2, "valid_split": "4"}
MIXINS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "an adapter": {"peft": True},
    "a sweep": {"use_sweep": True},
    "enhanced evaluation": {"use_enhanced_eval": True},
    "a small device": {"target_memory": "1GiB", "scheduler": "warmup_stable_decay"},
}
# The keys of the parts of a plan that depend on what is planned.
CONDITIONAL = {
    "arguments": {"lr_scheduler_kwargs", "metric_for_best_model", "greater_is_better", "fsdp", "fsdp_config"},
    "estimate": {"way_out_bytes", "loading_bytes", "offloaded_bytes"},
    "rollouts": {"rl_gamma", "rl_gae_lambda", "rl_num_generations", "rl_advantage", "rl_value_model"},
}


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "scores.py").write_text("def score(completions, **rest): return [0.0] * len(completions)\n")
    kinds = {
        "documents": [{"text": f"Line {number} follows line {number - 1}."} for number in range(24)],
        "conversations": [{"prompt": f"what is {number}?", "completion": f"it is {number}"} for number in range(24)],
        "preferences": [{"prompt": f"{number}?", "chosen": f"{number}", "rejected": "no"} for number in range(24)],
        "prompts": [{"prompt": f"what comes after {number}"} for number in range(24)],
    }
    kinds["scored"] = kinds["preferences"]
    return {kind: write_rows(tmp_path / f"{kind}.jsonl", content) for kind, content in kinds.items()}


def plan_of(trainer: str, model: Path, rows: dict[str, Path], **flags: Any) -> Plan:
    spec = TRAINERS[trainer]
    command = {"trainer": trainer, "model": str(model), "data_path": str(rows[spec.rows]), **USUAL}
    if spec.samples:
        command["rl_reward_fn"] = f"{rows['prompts'].parent / 'scores.py'}:score"
    columns = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
    command |= {name: column for name, column in columns.items() if name in spec.requires}
    return plan(**{**command, **flags})


@pytest.mark.parametrize("mixin", MIXINS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_plan_is_the_same_after_it_was_written_and_read(
    trainer: str, mixin: str, light_llama: Path, rows: dict[str, Path]
) -> None:
    made = plan_of(trainer, light_llama, rows, **MIXINS[mixin])
    written = json.loads(json.dumps(made.as_json()))
    assert Plan.from_json(written) == made
    assert Plan.from_json(written).as_json() == written


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_key_of_a_plan_is_there_whether_it_has_a_value_or_not(
    trainer: str, light_llama: Path, rows: dict[str, Path]
) -> None:
    made = plan_of(trainer, light_llama, rows).as_json()
    assert list(made) == [
        *("trainer", "parameters", "ignored", "model", "data", "objective", "length", "layout", "precision"),
        *("arguments", "schedule", "output", "steps", "estimate", "adapter", "hub", "distillation", "sweep"),
        *("evaluation", "rollouts", "engine", "seed"),
    ]
    samples, names = TRAINERS[trainer].samples, set(made["objective"])
    assert {"name", "function", "trl", *TRAINERS[trainer].settings} == names - {"reference"}
    assert ("reference" in names) == (samples or "model_ref" in made["parameters"])
    for part, keys in CONDITIONAL.items():
        assert all(made[part][key] is not None for key in keys & set(made[part] or ()))
    assert {"with", "way_out", "largest"} <= set(made["estimate"])


def test_an_unknown_key_a_missing_one_and_a_wrong_type_are_named(light_llama: Path, rows: dict[str, Path]) -> None:
    written = plan_of("grpo", light_llama, rows).as_json()
    for part, wrong, named in (
        ("model", {"colour": "red"}, "plan.model has the unknown key 'colour'"),
        ("schedule", {"rows": "ten"}, "plan.schedule.rows must be of type int, not 'ten'"),
        ("objective", {"dpo_beta": 0.1}, "plan.objective has the unknown key 'dpo_beta'"),
        ("rollouts", {"answers_each": None}, "plan.rollouts.answers_each must be of type int, not None"),
    ):
        with pytest.raises(BadDocument, match=named):
            Plan.from_json({**written, part: {**written[part], **wrong}})
    missing = {name: value for name, value in written["rollouts"]["sampling"].items() if name != "temperature"}
    with pytest.raises(BadDocument, match=r"plan\.rollouts\.sampling has no 'temperature'"):
        Plan.from_json({**written, "rollouts": {**written["rollouts"], "sampling": missing}})


def test_the_plan_names_generic_where_the_trainer_is_the_default_and_rows_are_plain_text(
    light_llama: Path, rows: dict[str, Path]
) -> None:
    def line(kind: str, **flags: Any) -> tuple[str, str, str]:
        (_, what), *_ = plan(model=str(light_llama), data_path=str(rows[kind]), **USUAL, **flags).summary()
        return what[0]

    assert line("documents") == ("trainer", "sft", "default; --trainer generic makes blocks of texts")
    assert line("documents", trainer="sft") == ("trainer", "sft", "command line")
    assert line("conversations") == ("trainer", "sft", "default")


def test_the_plan_says_that_the_model_is_quantised(light_llama: Path, rows: dict[str, Path]) -> None:
    made = plan_of("sft", light_llama, rows)
    in_four_bits = dataclasses.replace(made, model=dataclasses.replace(made.model, quantization="int4"))
    assert ", in int4)" in str(in_four_bits.summary()) and "int4" not in str(made.summary())
