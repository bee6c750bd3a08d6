"""What another tool trains with where its config says nothing is told, with the values to type."""

from __future__ import annotations

import re

import pytest

from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.parser import read
from autotrain_llm.config.aliases import ALIASES, BY_TRAINER
from autotrain_llm.config.arguments import parse_changes
from autotrain_llm.config.file import read_config
from autotrain_llm.config.other_defaults import TOOLS, TWICE_THE_RANK
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.convert import convert
from autotrain_llm.declare.param import flag_of


def told(text: str, tmp_path) -> list[str]:
    """The fix of the finding about defaults, without what follows the values."""
    (tmp_path / "run.yaml").write_text(text)
    findings = read_config(str(tmp_path / "run.yaml")).findings
    return [str(finding.fix).partition(", to train")[0] for finding in findings if finding.code == "P163"]


LLAMA_FACTORY = "stage: sft\nfinetuning_type: lora\ncutoff_len: 512\nwarmup_ratio: 0.1\nweight_decay: 0.1\n"


def test_the_scale_of_another_tools_adapter_is_told(tmp_path):
    assert told(f"{LLAMA_FACTORY}lora_rank: 64\n", tmp_path) == ["--lora-alpha 128 --lora-dropout 0.0"]
    assert told(f"{LLAMA_FACTORY}lora_rank: 16\nlora_dropout: 0.1\n", tmp_path) == []  # twice 16 is the default here
    assert told(LLAMA_FACTORY, tmp_path) == ["--lora-r 8 --lora-alpha 16 --lora-dropout 0.0"]
    assert told(LLAMA_FACTORY.replace("lora", "full"), tmp_path) == []
    without = LLAMA_FACTORY.replace("finetuning_type: lora\n", "")
    assert told(without, tmp_path) == ["--peft --lora-r 8 --lora-alpha 16 --lora-dropout 0.0"]


def test_the_schedule_of_another_tool_is_told(tmp_path):
    swift = "train_type: full\nsplit_dataset_ratio: 0.1\nweight_decay: 0.1\n"
    assert told(swift, tmp_path) == ["--warmup-ratio 0.0 --scheduler cosine"]
    assert told(f"{swift}lr_scheduler_type: linear\nwarmup_steps: 0\n", tmp_path) == []


@pytest.mark.parametrize(
    "text", ["trainer: sft\nlr: 1e-5\n", "trainer: sft\nlora_r: 8\nadapter: lora\n", "stage: sft\n"]
)
def test_a_config_that_is_not_another_tools_gets_no_such_finding(text, tmp_path):
    assert told(text, tmp_path) == []


def test_the_defaults_of_other_tools_are_values_here():
    for tool in TOOLS:
        for name, value in tool.defaults.items():
            assert name in PARAMS and (value == TWICE_THE_RANK or convert(PARAMS[name], value) is not None)


# ---- a value is translated for the trainer that is chosen


def values_of(parameter: str) -> list[str]:
    """Values of a parameter: its choices, other tools' words for them, and those that have no counterpart."""
    param = PARAMS[parameter]
    words = " ".join([*param.choice_aliases.values(), *param.meanings]).replace("*", "1").split()
    kinds = {"int": "4", "float": "0.5", "switch": "true"}
    return [*param.choices, *words] or [kinds.get(param.kind, "some")]


NAMES = {name: [parameter] for name, parameter in ALIASES.items()} | {
    name: list(others) for name, others in BY_TRAINER.items()
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_fix_of_another_tools_name_is_one_that_the_trainer_reads(trainer):
    applies, wrong = RULES["P101"], []
    for name, parameters in NAMES.items():
        for value in dict.fromkeys(value for parameter in parameters for value in values_of(parameter)):
            arguments = read(["--trainer", trainer, f"--{name}", value])
            for finding in arguments.findings:
                changes = parse_changes(finding.suggestion)
                config = resolve({"trainer": trainer, **changes})
                again = [one.message for one in applies.check({"config": config, "trainer": config.trainer_spec})]
                typed = [rf"{flag_of(parameter)} {re.escape(value)}(?![\w-])" for parameter in parameters]
                offers = any(re.search(flag, str(finding.fix)) for flag in typed)
                if again or (offers and f"which has no {value}" in finding.message):
                    wrong.append((name, value, finding.message, finding.fix))
    assert not wrong
