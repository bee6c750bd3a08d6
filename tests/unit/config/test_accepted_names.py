"""Names of other tools that mean the same here are accepted, from every entrance, and the plan says under which name a value was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.aliases import RENAMED
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.file import read_config
from autotrain_llm.config.registry import PARAMS

PAIRS = '{"prompt": "Is 2 even?", "chosen": "Yes.", "rejected": "No."}\n{"prompt": "Is 3 even?", "chosen": "Not at all.", "rejected": "Yes."}\n'
COLUMNS = "--prompt-text-column prompt --rejected-text-column rejected --epochs 1 --batch-size 2"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    return tmp_path


def plan_of(command: str, capsys) -> dict[str, Any]:
    assert main(["llm", *command.split(), "--dry-run", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["findings"] == []
    return document["plan"]["parameters"]


WORDS = [
    ("--trainer_type dpo", "trainer", "dpo"),
    ("--trainer-type dpo", "trainer", "dpo"),
    ("--training_type dpo", "trainer", "dpo"),
    ("--model_name scratch:1m", "model", "scratch:1m"),
    ("--path sft/checkpoint-942", "model", "sft/checkpoint-942"),
    ("--from_weight runs/sft", "model", "runs/sft"),
    ("--data_files rows.jsonl", "data_path", "rows.jsonl"),
    ("--data_cache_path prepared", "data_path", "prepared"),
    ("--learning_rate 2e-5", "lr", 2e-5),
    ("--project_name mine", "output_dir", "mine"),
    ("--wandb_project mine", "tracker_project", "mine"),
]


@pytest.mark.parametrize(("words", "parameter", "value"), WORDS, ids=[words for words, *_ in WORDS])
def test_a_word_of_another_tool_is_accepted_and_its_name_is_kept(words, parameter, value):
    arguments = read(words.split())
    assert (arguments.values, arguments.findings) == ({parameter: value}, [])
    flag, written = words.split()
    assert arguments.origins[parameter].written == flag
    key = flag.lstrip("-").replace("-", "_")
    Path("run.yaml").write_text(f"{key}: {written}\n")
    arguments = read_config("run.yaml")
    assert (arguments.values, arguments.findings) == ({parameter: value}, [])
    assert arguments.origins[parameter].written == key
    assert parse_kwargs({key: written}).values == {parameter: value}


def test_every_accepted_name_means_one_parameter_and_hides_none():
    assert set(RENAMED.values()) <= set(PARAMS) and not set(RENAMED) & set(PARAMS)


def test_our_own_name_given_last_is_no_other_name():
    assert read(["--learning_rate", "1", "--lr", "2"]).origins == {}
    assert read(["--lr", "1", "--learning-rate", "2"]).origins["lr"].written == "--learning-rate"


@pytest.mark.parametrize(
    ("trainer", "parameter"),
    [("dpo", "dpo_beta"), ("kto", "kto_beta"), ("orpo", "orpo_alpha"), ("grpo", "rl_kl_coef"), ("ppo", "rl_kl_coef")],
)
def test_beta_is_the_trainers_own_wherever_the_trainer_is_named(trainer, parameter, capsys):
    for words in ([f"--trainer={trainer}", "--beta=0.2"], ["--beta", "0.2", "--trainer-type", trainer]):
        arguments = read(words)
        assert arguments.values == {"trainer": trainer, parameter: 0.2} and arguments.findings == []
        assert arguments.origins[parameter].written == "--beta"
    assert read(["--beta", "0.2"], trainer).values == {parameter: 0.2}
    assert parse_kwargs({"beta": 0.2, "trainer": trainer}).values[parameter] == 0.2
    Path("base.yaml").write_text("beta: 0.1\n")
    Path("run.yaml").write_text(f"extends: base.yaml\n{parameter}: 0.2\ntrainer: {trainer}\n")
    assert read_config("run.yaml").values[parameter] == 0.2
    Path("run.yaml").write_text(f"extends: base.yaml\ntrainer: {trainer}\n")
    assert read_config("run.yaml").values[parameter] == 0.1


def test_beta_without_a_trainer_that_has_one_is_answered():
    for words in (["--beta", "0.2"], ["--trainer", "sft", "--beta", "0.2"]):
        (finding,) = read(words).findings
        assert finding.code == "P102" and "--dpo-beta" in finding.message


def test_beta_on_the_command_line_knows_the_trainer_of_the_config(capsys):
    Path("run.yaml").write_text("trainer: dpo\nmodel: scratch:100k\ndata_path: pairs.jsonl\nlr: 1e-6\n")
    cells = plan_of(f"--config run.yaml --beta 0.3 {COLUMNS}", capsys)
    assert cells["dpo_beta"] == {"value": 0.3, "source": "command line", "written": "--beta"}


def test_the_plan_says_under_which_name_a_value_was_given(capsys):
    command = f"--trainer_type dpo --model_name scratch:100k --data_files pairs.jsonl --learning_rate 1e-6 {COLUMNS}"
    cells = plan_of(command, capsys)
    assert cells["lr"] == {"value": 1e-6, "source": "command line", "written": "--learning_rate"}
    assert cells["trainer"]["written"] == "--trainer_type" and "written" not in cells["epochs"]
    assert main(["llm", *command.split(), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "command line (--trainer_type)" in out and "command line (--learning_rate)" in out


def test_a_block_of_dpo_settings_is_read(capsys):
    text = "dpo_args:\n  beta: 0.2\n  max_length: 64\n  max_prompt_length: 32\n"
    Path("run.yaml").write_text(text)
    arguments = read_config("run.yaml")
    assert arguments.findings == []
    assert arguments.values == {"dpo_beta": 0.2, "block_size": 64, "max_prompt_length": 32}
    assert arguments.origins["block_size"].written == "dpo_args.max_length"
    assert (
        parse_kwargs({"dpo_args": {"beta": 0.2, "max_length": 64, "max_prompt_length": 32}}).values == arguments.values
    )
    Path("run.yaml").write_text("dpo_args: {loss: ipo, nonsense: 3}\ntrainer: dpo\n")
    assert [finding.code for finding in read_config("run.yaml").findings] == ["P102", "P104"]
    Path("run.yaml").write_text("dpo_args: {beta: 0.1}\ndpo_beta: 0.2\n")
    assert [finding.code for finding in read_config("run.yaml").findings] == ["P106"]


def test_a_python_config_with_a_block_is_read():
    text = """
from opensloth.opensloth_config import OpenSlothConfig, DPOArgs

config = OpenSlothConfig(
    data_cache_path="data/dpo_dataset",
    training_type="dpo",
    dpo_args=DPOArgs(beta=0.1, max_length=1024, max_prompt_length=512),
)
"""
    Path("config.py").write_text(text)
    arguments = read_config("config.py")
    assert [finding.code for finding in arguments.findings] == ["P130"]
    assert arguments.values == {
        "data_path": "data/dpo_dataset",
        "trainer": "dpo",
        "dpo_beta": 0.1,
        "block_size": 1024,
        "max_prompt_length": 512,
    }


def test_use_wandb_adds_a_tracker_to_those_that_are_named():
    assert read(["--use_wandb"]).values == {"log": ("wandb",)}
    assert read(["--use_wandb"]).origins["log"].written == "--use-wandb"
    assert read(["--use_wandb", "false"]).values == {}
    for words in (["--use-wandb", "--log", "tensorboard"], ["--log", "tensorboard", "--use-wandb"]):
        assert read(words).values == {"log": ("tensorboard", "wandb")}
    assert read(["--use-wandb", "--log", "wandb"]).values == {"log": ("wandb",)}
