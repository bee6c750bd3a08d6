"""Config files in both shapes, and where each value comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotrain_llm.api import check
from autotrain_llm.checks.entry import read_config_file
from autotrain_llm.cli.main import main
from autotrain_llm.config.arguments import ParsedArguments, parse_kwargs
from autotrain_llm.config.file import read_config
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import COMMAND_LINE, CONFIG_FILE, DEFAULT, TRAINER_DEFAULT, Config, resolve
from autotrain_llm.declare.finding import Refused

SETTINGS = [param for param in PARAMS.values() if not param.command]
COMMANDS = [param for param in PARAMS.values() if param.command and not (param.in_files or param.answering)]
AUTOTRAIN = """
task: llm-sft
base_model: some/model
project_name: mine
log: tensorboard
backend: local

data:
  path: ./data/train.jsonl
  train_split: train
  valid_split: null
  chat_template: tokenizer
  column_mapping:
    text_column: messages
    rejected_text_column: null

params:
  block_size: 1024
  model_max_length: 2048
  epochs: 2
  batch_size: 1
  lr: 1e-5
  peft: true
  quantization: int4
  target_modules: all-linear
  padding: right
  optimizer: paged_adamw_8bit
  scheduler: cosine
  gradient_accumulation: 8
  mixed_precision: bf16
  merge_adapter: true

hub:
  username: ${HF_USERNAME}
  token: ${HF_TOKEN}
  push_to_hub: true
"""


def write(path: Path, document: Any) -> str:
    """A config file, as JSON or YAML by its name, or the text as it is."""
    if isinstance(document, str):
        path.write_text(document, encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(document), encoding="utf-8")
    else:
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


def codes(said: ParsedArguments) -> list[str]:
    return [finding.code for finding in said.findings]


# ---- the flat shape


@pytest.mark.parametrize("name", ["run.yaml", "run.yml", "run.json"])
@pytest.mark.parametrize("spelling", ["batch_size", "batch-size"])
def test_flags_are_keys_in_either_spelling(name, spelling, tmp_path):
    said = read_config(write(tmp_path / name, {"trainer": "sft", spelling: 3, "lr": 2e-5, "peft": True}))
    assert said.findings == []
    assert said.values == {"trainer": "sft", "batch_size": 3, "lr": 2e-5, "peft": True}


def test_numbers_and_switches_are_read_as_people_write_them_in_yaml(tmp_path):
    text = "lr: 2e-5\nepochs: '3'\npeft: yes\npush_to_hub: off\neval_strategy: no\nlog: wandb\ntarget_modules: [q_proj, v_proj]\n"
    said = read_config(write(tmp_path / "run.yaml", text))
    assert said.findings == []
    assert said.values == {
        "lr": 2e-5,
        "epochs": 3.0,
        "peft": True,
        "push_to_hub": False,
        "eval_strategy": "no",
        "log": ("wandb",),
        "target_modules": ("q_proj", "v_proj"),
    }


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_default_survives_a_round_trip(suffix, tmp_path):
    defaults = {param.name: param.default for param in SETTINGS}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    said = read_config(write(tmp_path / f"run{suffix}", plain))
    assert said.findings == []
    assert {**defaults, **said.values} == defaults
    assert set(said.values) == set(defaults)


@pytest.mark.parametrize("param", COMMANDS, ids=lambda param: param.name)
def test_what_steers_a_command_can_not_stand_in_a_file(param, tmp_path):
    for spelling in (param.name, param.name.replace("_", "-")):
        said = read_config(write(tmp_path / "run.yaml", {"lr": 1.0, spelling: True}))
        assert codes(said) == ["P105"] and said.values == {"lr": 1.0}
        assert said.findings[0].fix == f"{param.flag} on the command line"


def test_all_unknown_keys_are_reported_with_the_file_and_the_rest_is_read(tmp_path):
    path = write(tmp_path / "run.yaml", {"lerning_rate": 1, "num_epochs": 2, "lr": 1, "zzz": 1, "batch": {"a": 1}})
    said = read_config(path)
    assert said.values == {"lr": 1.0}
    assert sorted(codes(said)) == ["P102", "P104", "P104", "P104"]
    assert all(finding.file == path for finding in said.findings)
    assert any(finding.fix == "--epochs 2" for finding in said.findings)


def test_bad_values_are_reported_together_with_the_file(tmp_path):
    path = write(
        tmp_path / "run.yaml", {"trainer": "sft", "epochs": 0, "lr": "high", "scheduler": "cosin", "peft": "maybe"}
    )
    found = [finding for finding in check(config=path) if finding.code in ("P301", "P302", "P303")]
    assert sorted(finding.code for finding in found) == ["P301", "P302", "P302", "P303"]
    assert {finding.file for finding in found} == {path}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", ""),
        ("run.yaml", "just words"),
        ("run.yaml", "- a\n- b\n"),
        ("run.yaml", "lr: [1\n"),
        ("run.yaml", "lr: 1\n\tbatch_size: 3\n"),
        ("run.yaml", "lr: !!python/object/apply:os.system ['true']\n"),
        ("run.json", "{"),
        ("run.json", "[1]"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(name, text, tmp_path):
    with pytest.raises(Refused) as refused:
        read_config(write(tmp_path / name, text))
    (finding,) = refused.value.findings
    assert finding.code == "P106" and finding.file == str(tmp_path / name)


def test_a_file_that_can_not_be_read_is_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"model: caf\xe9\n")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(Refused) as refused:
            read_config(str(path))
        assert [finding.code for finding in refused.value.findings] == ["P106"]


@pytest.mark.parametrize("value", [{"a": {"b": 1}}, [[1]], None, "", 3, True, "\u0000", "2026-01-01"])
@pytest.mark.parametrize(
    "key", ["lr", "model", "log", "sweep_params", "trainer", "scheduler", "peft", "train", "padding"]
)
def test_no_value_of_a_file_ends_in_a_traceback(key, value, tmp_path):
    path = write(tmp_path / "run.json", {key: value})
    assert isinstance(check(config=path), tuple)


@pytest.mark.parametrize(
    "text", ["1: 2\n", "null: 3\n", "true: x\n", "? [a, b]\n: c\n", "lr: 2026-01-01\n", "model: 2026-01-01\n"]
)
def test_no_key_or_value_of_yaml_ends_in_a_traceback(text, tmp_path):
    try:
        assert read_config(write(tmp_path / "run.yaml", text)).findings or text.startswith("model")
    except Refused as refused:
        assert [finding.code for finding in refused.findings] == ["P106"]


# ---- AutoTrain's own shape


def test_autotrains_own_shape_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_USERNAME", "someone")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    said = read_config(write(tmp_path / "run.yml", AUTOTRAIN))
    assert [(finding.code, finding.severity, finding.parameters) for finding in said.findings] == [
        ("P110", "warning", ("padding",))
    ]
    assert said.values == {
        "trainer": "sft",
        "model": "some/model",
        "output_dir": "mine",
        "log": ("tensorboard",),
        "data_path": "./data/train.jsonl",
        "train_split": "train",
        "valid_split": None,
        "chat_template": "tokenizer",
        "text_column": "messages",
        "block_size": 1024,
        "model_max_length": 2048,
        "epochs": 2.0,
        "batch_size": 1,
        "lr": 1e-5,
        "peft": True,
        "quantization": "int4",
        "target_modules": ("all-linear",),
        "optimizer": "paged_adamw_8bit",
        "scheduler": "cosine",
        "gradient_accumulation": 8,
        "mixed_precision": "bf16",
        "merge_adapter": True,
        "username": "someone",
        "token": "hf_secret",
        "push_to_hub": True,
    }


def test_a_variable_that_is_not_set_is_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_USERNAME", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    said = read_config(write(tmp_path / "run.yml", AUTOTRAIN))
    assert {"token", "username"} & {*said.values} == set()


def test_a_token_from_a_file_is_never_printed(tmp_path, monkeypatch, capsys, chat_rows):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = AUTOTRAIN.replace("some/model", "scratch:100k").replace("./data/train.jsonl", str(chat_rows))
    for lost in (
        "peft: true",
        "quantization: int4",
        "merge_adapter: true",
        "optimizer: paged_adamw_8bit",
        "log: tensorboard",
    ):
        text = text.replace(lost, "")
    path = write(tmp_path / "run.yml", text.replace("bf16", "fp32").replace("messages", "null"))
    for more in (["--verbose"], ["--format", "json"], ["--epochs", "0"]):
        main(["llm", "--config", path, "--dry-run", *more])
    out, err = capsys.readouterr()
    assert '"(not shown)"' in out and "hf_secret" not in out + err


@pytest.mark.parametrize(
    ("task", "trainer"),
    [("llm", "sft"), ("llm-generic", "generic"), ("llm-sft", "sft"), ("llm:dpo", "dpo"), ("llm-orpo", "orpo")],
)
def test_a_task_names_its_trainer(task, trainer, tmp_path):
    said = read_config(write(tmp_path / "run.yml", {"task": task, "base_model": "m"}))
    assert said.findings == [] and resolve({}, said.values).trainer == trainer


@pytest.mark.parametrize("named", [{}, {"trainer": ""}, {"trainer": "default"}])
def test_without_a_trainers_name_it_is_sft(named):
    arguments = parse_kwargs(named)
    assert arguments.findings == [] and resolve(arguments.values).trainer == "sft"


def test_a_task_that_is_none_of_ours_is_a_finding(tmp_path):
    said = read_config(write(tmp_path / "run.yml", {"task": "image-classification", "base_model": "m"}))
    assert codes(said) == ["P104"] and "image-classification" in said.findings[0].message


def test_unknown_keys_inside_the_sections_are_all_reported(tmp_path):
    document = {"base_model": "m", "data": {"pth": 1}, "params": {"lerning": 1}, "hub": {"usrname": 1}, "other": 1}
    said = read_config(write(tmp_path / "run.yml", document))
    assert codes(said) == ["P104"] * 4
    messages = " ".join(finding.message for finding in said.findings)
    assert all(name in messages for name in ("data.pth", "params.lerning", "hub.usrname", "other"))


@pytest.mark.parametrize("log", [None, "none", []])
def test_no_tracker_is_no_tracker_however_it_is_written(log, tmp_path):
    said = read_config(write(tmp_path / "run.yml", {"task": "llm", "log": log}))
    assert said.findings == [] and said.values["log"] == ()


# ---- which value counts


def sources(config: Config, *names: str) -> list[tuple[Any, str]]:
    return [(config.value_of(name), config.source(name)) for name in names]


def test_the_command_line_wins_over_the_file_over_the_trainer_over_the_default():
    config = resolve({"lr": 1.0, "trainer": "dpo"}, {"lr": 2.0, "epochs": 3.0, "trainer": "sft"})
    assert sources(config, "trainer", "lr", "epochs", "text_column", "seed") == [
        ("dpo", COMMAND_LINE),
        (1.0, COMMAND_LINE),
        (3.0, CONFIG_FILE),
        ("chosen", TRAINER_DEFAULT),
        (42, DEFAULT),
    ]


@pytest.mark.parametrize("trainer", TRAINERS.values(), ids=lambda trainer: trainer.name)
def test_a_trainers_own_default_is_not_taken_for_something_that_was_given(trainer):
    config = resolve({"trainer": trainer.name})
    assert config.all_given() == ("trainer",)
    for name, value in trainer.defaults.items():
        assert sources(config, name) == [(value, TRAINER_DEFAULT)]


def test_a_value_equal_to_the_default_is_given_all_the_same():
    config = resolve({"seed": 42})
    assert config.given("seed") and config.source("seed") == COMMAND_LINE and not config.given("lr")


def test_what_is_dropped_was_never_given_and_the_other_sources_stay():
    config = resolve({"lr": 1.0, "dpo_beta": 0.5}, {"epochs": 3.0, "rl_gamma": 0.5}).without(("dpo_beta", "rl_gamma"))
    assert sources(config, "lr", "epochs", "dpo_beta", "rl_gamma") == [
        (1.0, COMMAND_LINE),
        (3.0, CONFIG_FILE),
        (0.1, DEFAULT),
        (0.99, DEFAULT),
    ]


def test_a_value_that_is_dropped_falls_back_to_the_trainers_default():
    assert sources(resolve({"trainer": "dpo", "text_column": "x"}).without(("text_column",)), "text_column") == [
        ("chosen", TRAINER_DEFAULT)
    ]


def test_a_replaced_value_was_given_and_the_original_stays_as_it_was():
    config = resolve({"lr": 1.0})
    changed = config.replace({"lr": 2.0, "seed": 1})
    assert sources(changed, "lr", "seed") == [(2.0, COMMAND_LINE), (1, COMMAND_LINE)]
    assert sources(config, "lr", "seed") == [(1.0, COMMAND_LINE), (42, DEFAULT)]
    with pytest.raises(KeyError):
        config.replace({"lerning_rate": 1})


def test_a_config_can_not_be_asked_for_what_is_no_parameter():
    with pytest.raises(AttributeError, match="lerning_rate"):
        _ = resolve({}).lerning_rate


def test_no_parameter_hides_a_method_of_the_config():
    assert {name for name in vars(Config) if not name.startswith("_")} & set(PARAMS) == set()


def test_a_config_is_frozen():
    with pytest.raises(AttributeError, match="replace"):
        resolve({}).lr = 1.0


def test_an_accepted_flag_does_not_overrule_what_was_said_plainly():
    for flags in (
        {"use_flash_attention_2": True, "attn_implementation": "sdpa"},
        {"attn_implementation": "sdpa", "use_flash_attention_2": True},
    ):
        assert parse_kwargs(flags).values["attn_implementation"] == "sdpa"


def test_a_key_that_stands_twice_is_an_error_in_any_spelling(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("lr: 1e-4\nlr: 1e-5\n")
    with pytest.raises(Refused) as refused:
        read_config(str(file))
    assert "lr is in line 1 and again in line 2" in refused.value.findings[0].message
    file.write_text("batch-size: 2\nbatch_size: 4\n")
    assert [finding.code for finding in read_config(str(file)).findings] == ["P106"]
    file.write_text("base: &base {lr: 1e-4}\nnew: {<<: *base, lr: 1e-5}\n")
    assert "base" in str(read_config(str(file)).findings)  # anchors and merges are none


def test_a_variable_that_is_not_set_is_said_not_to_be(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_MODEL", raising=False)
    file = tmp_path / "run.yaml"
    file.write_text("seed: ${NO_SUCH_MODEL}\n")
    (finding,) = read_config(str(file)).findings
    assert "NO_SUCH_MODEL" in finding.message and read_config(str(file)).values == {}
    monkeypatch.setenv("NO_SUCH_MODEL", "7")
    said = read_config(str(file))
    assert (said.values, said.findings) == ({"seed": 7}, [])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("run.json", '{"lr": 1e-5, "lr": 2e-5}', "lr occurs twice in one object"),
        ("run.json", '// mine\n{"lr": 1e-5}', "JSON has no comments"),
        ("run.yaml", "lr: 1e-5\n\tepochs: 1\n", "line 2 begins with a tab"),
        ("run.yaml", "<<<<<<< HEAD\nlr: 1e-5\n=======\nlr: 2e-5\n>>>>>>> x\n", "line 1 is a Git merge conflict marker"),
        ("run.yaml", "# nothing yet\n", "is empty"),
        ("run.yaml", "- lr: 1e-5\n", "holds a list"),
        ("run.toml", 'lr = "1e-5"\n', "is neither YAML nor JSON"),
    ],
)
def test_why_a_config_can_not_be_read_is_said_in_words(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(Refused) as refused:
        read_config(str(tmp_path / name))
    (finding,) = refused.value.findings
    assert (finding.code, words in finding.message) == ("P106", True)


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path):
    (tmp_path / "run.json").write_text('\ufeff{"lr": 1e-5}', encoding="utf-8")
    assert read_config(str(tmp_path / "run.json")).values == {"lr": 1e-5}


def test_data_sets_with_settings_of_their_own_are_answered_with_their_path(tmp_path):
    (tmp_path / "run.yaml").write_text("datasets:\n  - path: ./rows.jsonl\n    type: chat_template\nadapter: lora\n")
    findings = read_config(str(tmp_path / "run.yaml")).findings
    found = {finding.parameters[0]: finding.fix for finding in findings if finding.code != "P163"}
    assert found == {"datasets": "--data-path ./rows.jsonl", "adapter": "--peft"}


def test_another_tools_name_in_a_file_is_answered_with_what_the_command_line_gives(tmp_path):
    (tmp_path / "theirs.yaml").write_text("dataset: identity\nbeta: 0.2\n")
    given = {"config": str(tmp_path / "theirs.yaml"), "data_path": "rows.jsonl", "trainer": "dpo"}
    parsed = read_config_file(given)
    (finding,) = parsed.findings
    assert finding.fix == "leave 'dataset' out: --data-path is given"
    assert parsed.values == {"dpo_beta": 0.2}  # what `beta` means depends on the trainer of the command line
