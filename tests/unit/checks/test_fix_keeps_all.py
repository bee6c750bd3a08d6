"""`--fix` loses nothing: what a config file or a command has is in the result translated, said to be without effect, or as it was typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotrain_llm.checks.autofix import fix
from autotrain_llm.checks.entry import read_config_file
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.aliases import ACCEPTED_BY_NAME
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.stages import parameter_of

NAMES = sorted(
    {
        name
        for lines in json.loads(
            (Path(__file__).parent.parent / "config" / "names_of_other_tools.json").read_text()
        ).values()
        for line in lines
        for name in line.split()
    }
    - {"extends", "task", "stages", "parameters", "method", "data", "params", "hub", "base_model"}
)
OWN = sorted(name for name, param in PARAMS.items() if not param.command and not param.secret and not param.path)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-2, 500),
    st.floats(0, 2, allow_nan=False).map(lambda number: round(number, 4)),
    st.sampled_from(
        ["orpo", "dr_grpo", "freeze", "lora", "all", "none", "last_round", "cosine", "", "no thing", "-x", "é"]
    ),
    st.lists(st.sampled_from(["q_proj", "wandb", "a b"]), max_size=2),
    st.dictionaries(st.sampled_from(["min_lr", "rank", "keys"]), st.integers(0, 9), min_size=1, max_size=2),
)
WORDS = st.from_regex(r"[a-z][a-z_-]{2,12}", fullmatch=True).filter(
    lambda name: name not in ("extends", "stages", "task")
)
KEYS = st.one_of(
    st.sampled_from(NAMES), st.sampled_from(OWN), WORDS, st.sampled_from(["optimizer.lr", "model.lora_rank", "a.b"])
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=6)
BASE = {"trainer": "sft", "model": "some/model", "lr": 1e-5, "epochs": 1, "batch_size": 4}


def flat(document: dict[str, Any]) -> dict[str, Any]:
    """Keys with the sections before them, spelt with underscores."""
    pairs: dict[str, Any] = {}
    for key, value in document.items():
        name = parameter_of(key)
        pairs[name] = value
        if isinstance(value, dict):
            pairs |= {f"{name}.{inner}": item for inner, item in value.items()}
    return pairs


def is_kept(key: str, after: dict[str, Any], told: str) -> bool:
    return key in after or key.replace("-", "_") in after or f"'{key}'" in told or f"--{key.replace('_', '-')}" in told


def read_as(key: str, value: Any, trainer: str) -> list[str]:
    """The name under which a value that can't be read stays: of an accepted spelling, that of the parameter."""
    return [item.name for item in parse_kwargs({"trainer": trainer, key: value}).unread]


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(document=DOCUMENTS, trainer=st.sampled_from([*TRAINERS]))
def test_every_key_of_a_config_is_in_the_corrected_one(document, trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = {**BASE, "trainer": trainer, **document}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
    arguments = read(["--config", "run.yaml"])
    fixed = fix(arguments, read_config_file(arguments.values))
    fixed.write_config("fixed.yaml")
    told = "\n".join(f"{one.message} {one.fix}" for one in fixed.applied)
    after = flat(yaml.safe_load(Path("fixed.yaml").read_text(encoding="utf-8")))
    # `train: false` and a section without keys set nothing
    nothing = {
        key
        for key, value in whole.items()
        if value is False and (key in ACCEPTED_BY_NAME or getattr(PARAMS.get(key.replace("-", "_")), "command", False))
    }
    lost = [
        key
        for key, value in whole.items()
        if key not in nothing
        and value != {}
        and not isinstance(value, dict)
        and not any(is_kept(name, after, told) for name in (key, *read_as(key, value, trainer)))
    ]
    assert not lost, (lost, after, told)
    lost = [
        f"{key}.{inner}" for key, value in document.items() if isinstance(value, dict) for inner in value
        if not any(is_kept(name, after, told) for name in (key, f"{key}.{inner}", inner))
    ]  # fmt: skip
    assert not lost, (lost, after, told)
    if fixed.file_changed:  # otherwise the command has the file itself
        command = read(shlex.split(fixed.command().removeprefix("autotrain llm")))
        assert {item.name.replace("-", "_") for item in fixed.unread_in_file} <= {
            *(item.name.replace("-", "_") for item in command.unread), *map(parameter_of, command.values)
        }  # fmt: skip


LOST = [
    ("pref_loss: orpo", "trainer: dpo"),
    ("finetuning_type: freeze", "trainer: sft"),
    ("mask_history: true", "trainer: sft"),
    ("loss_scale: last_round", "trainer: sft"),
    ("warmup_steps: 100", "trainer: sft"),
    ("warmup_steps: -1", "trainer: sft"),  # verl's default
    ("adam_beta2: 0.95", "trainer: sft"),
    ("loss_type: nothing", "trainer: grpo"),
    ("epsilon_high: 0.28", "trainer: grpo"),
    ("dry_run: true", "trainer: sft"),
    ("lr: ${NOT_SET_ANYWHERE}", "trainer: sft"),
    ("model.apply_lora_to_mlp: false", "trainer: sft"),
]


@pytest.mark.parametrize(("line", "trainer"), LOST)
def test_what_is_refused_is_refused_again_by_the_corrected_config(line, trainer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(f"{trainer}\nmodel_name_or_path: some/model\nepochs: 1\nbatch_size: 4\n{line}\n")
    main(["llm", "--config", "run.yaml", "--fix", "--write-config", "fixed.yaml"])
    capsys.readouterr()
    assert main(["llm", "--config", "fixed.yaml", "--dry-run", "--format", "json"]) == 2
    key = line.partition(":")[0]
    assert key in Path("fixed.yaml").read_text()
    messages = [one["message"] for one in json.loads(capsys.readouterr().out)["findings"]]
    assert any(key.replace("_", "-") in message.replace("_", "-") for message in messages)


def test_nothing_is_removed_for_a_trainer_that_is_not_known(tmp_path, monkeypatch, capsys):
    """`gdpo` is no trainer here; what the one that is meant reads, nobody knows yet."""
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(
        "base_model: some/model\nrl: gdpo\ntrl: {reward_weights: [1.0, 2.0], num_generations: 2}\n"
    )
    main(["llm", "--config", "run.yaml", "--fix", "--write-config", "fixed.yaml"])
    capsys.readouterr()
    written = yaml.safe_load(Path("fixed.yaml").read_text())
    assert (written["rl_reward_weights"], written["rl_num_generations"], written["rl"]) == (["1.0", "2.0"], 2, "gdpo")


def test_a_config_that_cannot_be_read_stays_in_the_corrected_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("pref_loss: [orpo\n")
    assert main(["llm", "--config", "run.yaml", "--fix", "--write-config", "fixed.yaml"]) == 2
    assert yaml.safe_load(Path("fixed.yaml").read_text())["config"] == "run.yaml"
    capsys.readouterr()


@pytest.mark.parametrize(
    "words", ["--lr", "--no-packing true", "--mask_history", "--lr 1e-5 and more", "optimizer.nothing=3 --lr"]
)
def test_every_word_of_a_command_that_cannot_be_read_is_in_the_corrected_one(words):
    arguments = read(shlex.split(f"--trainer sft --model some/model --epochs 1 --batch-size 4 {words}"))
    fixed = fix(arguments, read_config_file(arguments.values)).command()
    again = read(shlex.split(fixed.removeprefix("autotrain llm")))
    assert {one.code for one in arguments.findings} == {one.code for one in again.findings}, fixed


def test_a_secret_under_another_name_is_a_variable_in_the_corrected_config_and_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("trainer: sft\nmodel_name_or_path: some/model\nhub_token: hf_secret\n")
    arguments = read(["--config", "run.yaml"])
    fixed = fix(arguments, read_config_file(arguments.values))
    fixed.write_config("fixed.yaml")
    assert yaml.safe_load(Path("fixed.yaml").read_text())["hub_token"] == "${HF_TOKEN}"
    assert '--hub_token "${HF_TOKEN}"' in fixed.command() and "hf_secret" not in fixed.command()


def test_a_key_of_a_stage_and_above_the_stages_is_translated_or_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("lr: 1e-5\nmodel: some/model\ndata_path: rows.jsonl\n")
    stages = "stages:\n- {name: a, trainer: sft, num_train_epochs: 1, pref_loss: orpo}\n"
    Path("run.yaml").write_text(f"extends: base.yaml\nper_device_train_batch_size: 4\nmask_history: true\n{stages}")
    Path("other").mkdir()
    main(["llm", "--config", "run.yaml", "--fix", "--write-config", "other/fixed.yaml"])
    capsys.readouterr()
    written = yaml.safe_load(Path("other/fixed.yaml").read_text())
    assert written == {
        "extends": "../base.yaml",
        "batch_size": 4,
        "mask_history": True,
        "stages": [{"name": "a", "trainer": "sft", "epochs": 1, "pref_loss": "orpo"}],
    }
