"""Each value that other tools have for their choices means the same here, is translated exactly, or is answered by what is lost.

`values_of_other_tools.json` has the values as each tool's own declarations have them, by its name of the parameter.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.checks.rules.bounds import a_choice_must_be_one_of_the_choices
from autotrain_llm.checks.rules.tracking import a_tracker_must_be_one_that_is_supported
from autotrain_llm.config.arguments import parse_changes, parse_kwargs
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.finding import Finding

VALUES = json.loads((Path(__file__).parent / "values_of_other_tools.json").read_text())
EACH = [
    (tool, name, value) for tool, names in VALUES.items() for name, values in names.items() for value in values.split()
]
TRAINER_OF = {"dpo_loss_type": "dpo", "pref_loss": "dpo", "algorithm.adv_estimator": "grpo"}


def findings_of(values: dict[str, Any]) -> list[Finding]:
    """What is said about the values alone."""
    config = resolve(values)
    return [*a_choice_must_be_one_of_the_choices(config), *a_tracker_must_be_one_that_is_supported(config)]


def said_about(name: str, value: Any, **beside: Any) -> list[Finding]:
    parsed = parse_kwargs({name: value, **beside})
    return [*parsed.findings, *findings_of(parsed.values)]


@pytest.mark.parametrize(("tool", "name", "value"), EACH, ids=["-".join(each) for each in EACH])
def test_a_value_means_the_same_is_translated_or_is_answered_by_what_is_lost(tool: str, name: str, value: str) -> None:
    beside = {"trainer": TRAINER_OF[name]} if name in TRAINER_OF else {}
    for finding in said_about(name, value, **beside):
        instead = finding.changes or finding.guess
        set_to = {parameter: new for parameter, new in instead.items() if new is not None}
        assert parse_changes(instead).keys() == set_to.keys(), "a fix sets what it says"
        assert findings_of(parse_changes(instead)) == [], "and what it sets is valid"
        if not finding.changes:
            _, _, lost = finding.message.partition(": ")
            assert lost or ("trainer" in finding.guess and "which has no" in finding.message), (
                finding.message,
                finding.fix,
            )
        assert not (finding.changes and finding.guess), "a fix is certain or a guess"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "enumeration", "parameter"),
    [
        ("transformers.training_args", "OptimizerNames", "optimizer"),
        ("transformers.trainer_utils", "SchedulerType", "scheduler"),
        ("transformers.trainer_utils", "SaveStrategy", "save_strategy"),
    ],
)
def test_every_value_of_an_installed_library_is_known(module: str, enumeration: str, parameter: str) -> None:
    param = PARAMS[parameter]
    values = [str(member.value) for member in getattr(importlib.import_module(module), enumeration)]
    known = (*param.choices, *param.replaced_choices)
    assert values and [value for value in values if value not in known and param.meaning_of(value) is None] == []


def test_a_meaning_sets_parameters_that_there_are_to_values_that_they_can_have() -> None:
    for param in PARAMS.values():
        for words, meaning in param.meanings.items():
            set_to = {name: value for name, value in meaning.changes.items() if value is not None}
            assert parse_changes(set_to).keys() == set_to.keys() and findings_of(parse_changes(set_to)) == [], words
            assert not {*words.split()} & {*param.choices}, f"{param.flag}: a choice needs no meaning"


@pytest.mark.parametrize(
    ("given", "changes", "lost"),
    [
        ({"lr_scheduler_kwargs": {"min_lr_rate": 0.1}}, {"min_lr_ratio": 0.1}, ""),
        ({"lr_scheduler_kwargs": '{"min_lr": 1e-6}', "lr": 1e-5}, {"min_lr_ratio": 0.1}, ""),
        ({"lr_scheduler_kwargs": {"min_lr": 1e-6}}, {}, "X is 1e-6 divided by --lr"),
        ({"lr_scheduler_kwargs": {"power": 2, "lr_end": 0}, "lr": 1e-5}, {"polynomial_power": 2, "min_lr_ratio": 0.0}, ""),
        ({"lr_scheduler_kwargs": {"num_decay_steps": 100, "decay_type": "1-sqrt"}, "max_steps": 400}, {"decay_ratio": 0.25, "decay_shape": "1-sqrt"}, ""),
        ({"lr_scheduler_kwargs": {"num_cycles": 3}}, {}, "the rate falls once"),
        ({"fsdp": "full_shard auto_wrap"}, {"shard": "full"}, ""),
        ({"fsdp": ["hybrid_shard", "auto_wrap"]}, {"shard": "hybrid"}, ""),
        ({"fsdp": "full_shard auto_wrap offload"}, {"shard": "full", "offload": "parameters"}, ""),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, {"shard": "full"}, "FSDP2"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, {}, "nothing has to be said"),
        ({"data.train_batch_size": 64, "trainer": "ppo"}, {"rl_chunk_size": 64}, ""),
        ({"data.train_batch_size": 64, "rollout.n": 4, "trainer": "grpo"}, {"rl_chunk_size": 256}, ""),
        ({"data.train_batch_size": 64, "trainer": "sft"}, {"global_batch": 64}, ""),
        ({"data.max_prompt_length": 64, "trainer": "grpo"}, {"block_size": 64}, ""),
        ({"dataset.train_on_input": True}, {"response_only_loss": False}, ""),
        ({"trainable_token_indices": {"embed_tokens": [2, 1], "lm_head": [1, 2]}}, {"trainable_tokens": [1, 2]}, ""),
        ({"split": "train[:90%]"}, {"train_split": "train"}, "as a whole"),
        ({"logger": ["console", "wandb"]}, {"log": "wandb"}, ""),
        ({"logger": ["swanlab", "wandb"]}, {"log": "wandb"}, "swanlab"),
        ({"actor.optim.lr_scheduler_type": "constant"}, {"scheduler": "constant_with_warmup"}, ""),
    ],
)  # fmt: skip
def test_each_part_of_a_value_is_translated_or_named(given: dict[str, Any], changes: dict[str, Any], lost: str) -> None:
    (name, value), *rest = given.items()
    (finding,) = [found for found in said_about(name, value, **dict(rest)) if name in found.parameters]
    assert dict(finding.guess if lost else finding.changes) == changes
    assert lost in finding.message


def test_a_cosine_with_a_floor_keeps_it() -> None:
    own, kwargs = said_about("lr_scheduler_type", "cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.2})
    assert {**own.changes, **kwargs.changes} == {"scheduler": "cosine", "min_lr_ratio": 0.2}
    (alone,) = said_about("scheduler", "cosine_with_min_lr")
    assert alone.guess == {"scheduler": "cosine", "min_lr_ratio": 0.1}


def test_a_history_that_is_masked_is_answered_with_the_way_that_there_is() -> None:
    for name, value in (("mask_history", True), ("loss_scale", "last_round")):
        (finding,) = said_about(name, value)
        assert '"train": false' in finding.message


def test_several_data_sets_with_their_rows_are_a_mixture() -> None:
    for value in ("a#500 b#500", ["a#500", "b#500"]):
        (finding,) = said_about("dataset", value)
        assert "--data-config FILE" in (finding.fix or "") and not finding.changes
