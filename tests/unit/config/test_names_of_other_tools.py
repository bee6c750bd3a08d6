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
from autotrain_llm.config.file import read_config
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


# ---- names that mean something together with those beside them


def test_a_scale_and_a_rank_are_alpha(tmp_path):
    (tmp_path / "lora.yaml").write_text("lora_parameters:\n  rank: 8\n  scale: 20.0\n")
    changes = [dict(finding.changes) for finding in read_config(str(tmp_path / "lora.yaml")).findings]
    assert changes == [{"lora_r": 8, "peft": True}, {"lora_alpha": 160}]


@pytest.mark.parametrize(("folder", "beside"), [("data", {}), ("elsewhere", {"dataset_dir": "elsewhere"})])
def test_the_name_of_a_data_set_is_looked_up_where_its_tool_does(folder, beside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "mine.json").write_text("[]")
    registry = {
        "mine": {"file_name": "mine.json"},
        "theirs": {"hf_hub_url": "them/rows"},
        "gone": {"file_name": "gone.json"},
    }
    (tmp_path / folder / "dataset_info.json").write_text(json.dumps(registry))
    found = {
        name: unknown("dataset", "--dataset", name, beside={"dataset": name, **beside}) for name in [*registry, "other"]
    }
    assert dict(found["mine"].guess) == {"data_path": f"{folder}/mine.json"} and not found["mine"].changes
    assert dict(found["theirs"].guess) == {"data_path": "them/rows"}
    assert not found["gone"].guess and not found["other"].guess
    for name in beside:
        finding = unknown(name, f"--{name}", folder, beside={"dataset": "mine", **beside})
        assert finding.fix == f"leave --{name} out"


def test_a_registry_that_is_damaged_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text("{")
    assert not unknown("dataset", "--dataset", "mine").guess


@pytest.mark.parametrize(
    ("name", "value", "changes"),
    [
        ("optimizer._component_", "torch.optim.AdamW", {"optimizer": "adamw_torch"}),
        ("optimizer.class_path", "torch.optim.AdamW", {"optimizer": "adamw_torch"}),
        ("lr_scheduler._component_", "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup", {"scheduler": "cosine"}),
        ("lr_schedule.name", "cosine_decay", {"scheduler": "cosine"}),
    ],
)  # fmt: skip
def test_a_class_or_function_stands_for_the_choice_of_its_name(name, value, changes):
    assert dict(unknown(name, name, value).changes) == changes


def test_steps_of_warm_up_are_a_share_of_the_steps_beside_them(tmp_path):
    (tmp_path / "lora.yaml").write_text("iters: 1000\nlr_schedule:\n  warmup: 100\n")
    changes = [dict(finding.changes) for finding in read_config(str(tmp_path / "lora.yaml")).findings]
    assert changes == [{"max_steps": 1000}, {"warmup_ratio": 0.1}]


def test_a_variable_may_be_another_key_of_the_file(tmp_path):
    (tmp_path / "tune.yaml").write_text(
        "output_dir: made\ncheckpointer:\n  output_dir: ${output_dir}\ntokenizer:\n  max_seq_len: null\n"
    )
    parsed = read_config(str(tmp_path / "tune.yaml"))
    assert [dict(finding.changes) for finding in parsed.findings] == [{"output_dir": "made"}]


@pytest.mark.parametrize(
    ("name", "value", "changes"),
    [
        ("trainer.project_name", "mine", {"tracker_project": "mine"}),
        ("trainer.experiment_name", "first", {"run_name": "first"}),
        ("actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu", "4", {"batch_size": "4"}),
        ("actor_rollout_ref.actor.kl_loss_coef", "0.001", {"rl_kl_coef": "0.001"}),
        ("actor_rollout_ref.rollout.n", "5", {"rl_num_generations": "5"}),
        ("trainer.n_gpus_per_node", "8", {"num_processes": "8"}),
    ],
)  # fmt: skip
def test_a_key_of_verl_is_what_its_section_makes_of_it(name, value, changes):
    assert dict(unknown(name, f"{name}=", value, given={"trainer": "grpo"}).changes) == changes
