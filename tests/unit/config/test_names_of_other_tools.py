"""Each parameter that other tools have for training a language model gets an answer: ours, the nearest with the difference, or why there is none.

`names_of_other_tools.json` has the names as each tool's own declarations have them: its dataclasses, arguments or keys of a file; of keys in deep
sections the last four parts.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import pytest

from autotrain_llm.config.aliases import ACCEPTED_BY_NAME, NO_COUNTERPART
from autotrain_llm.config.families import FAMILIES
from autotrain_llm.config.foreign_names import is_known_elsewhere, unknown
from autotrain_llm.config.registry import ANSWERING, PARAMS
from autotrain_llm.declare.finding import Finding

NAMES = json.loads((Path(__file__).parent / "names_of_other_tools.json").read_text())

# What libraries that are installed declare, by module.
CLASSES = {
    "transformers": ("TrainingArguments", "Seq2SeqTrainingArguments"),
    "trl": ("ScriptArguments", "ModelConfig", "SFTConfig", "DPOConfig", "GRPOConfig", "RLOOConfig", "KTOConfig", "RewardConfig"),
    "peft": ("LoraConfig",),
}  # fmt: skip


def is_ours(name: str) -> bool:
    return name in ACCEPTED_BY_NAME or (name in PARAMS and name not in ANSWERING)


def without_an_answer(names: list[str]) -> list[str]:
    return [name for name in names if not is_ours(name) and not is_answer(unknown(name, f"--{name}", None))]


def is_answer(finding: Finding) -> bool:
    return "did you mean" not in finding.message and "--help" not in (finding.fix or "")


@pytest.mark.parametrize("tool", NAMES)
def test_each_parameter_of_another_tool_is_answered(tool):
    assert without_an_answer(" ".join(NAMES[tool]).split()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CLASSES.items() for name in names])
def test_each_field_of_the_libraries_configs_is_answered(module, name):
    fields = [field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))]
    assert fields and without_an_answer(fields) == []


@pytest.mark.parametrize("name", ["frobnicate", "evidence", "leraning_rat", "model.frobnicate"])
def test_what_no_tool_has_is_not_answered_as_if_one_had_it(name):
    assert without_an_answer([name]) == [name]


@pytest.mark.parametrize("name", [name for name in PARAMS if name not in ANSWERING])
def test_a_typo_of_ours_is_not_taken_for_one_of_a_family(name):
    """A letter that is missing in the middle."""
    if len(name) < 10:
        return
    written = name[: len(name) // 2] + name[len(name) // 2 + 1 :]
    if not is_known_elsewhere(written) or is_ours(written):
        return
    finding = unknown(written, f"--{written}", None)
    assert "there is no parameter" not in finding.message or "did you mean" in finding.message, finding.message


def test_a_section_about_another_model_says_nothing_of_the_trained_one():
    for name in (
        "critic.optim.lr",
        "critic.model.path",
        "reward_model.model.max_length",
        "ref.fsdp_config.param_offload",
    ):
        finding = unknown(name, name, "1")
        assert not finding.changes and finding.fix == f"leave {name} out", name
    assert unknown("reward_model.model.path", "reward_model.model.path", "rm").changes == {"rl_reward_model_path": "rm"}


def test_a_family_is_no_way_round_a_parameter():
    """No pattern without a wildcard is a parameter of ours: it would never be looked up."""
    plain = {name for patterns in FAMILIES.values() for name in patterns.split() if "*" not in name}
    assert {name for name in plain if is_ours(name)} == set()


def test_a_family_that_names_a_reason_names_one_that_is_there():
    assert {why for why in FAMILIES if " " not in why} <= set(NO_COUNTERPART)
