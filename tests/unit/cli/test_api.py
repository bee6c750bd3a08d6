"""The command from Python: the same findings, the same plan, and exceptions that carry what was found."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autotrain_llm
from autotrain_llm import check, plan, train
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.cli.main import main
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.finding import Finding, Refused

HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "optuna",
    "accelerate",
    "pydantic",
    "numpy",
    "pyarrow",
    "rich",
}


def flags_of(command: str) -> dict[str, Any]:
    """A command's flags as keyword arguments."""
    words = iter(shlex.split(command))
    return {word.removeprefix("--").replace("-", "_"): next(words) for word in words}


@pytest.fixture
def command(light_llama: Path, chat_rows: Path) -> dict[str, Any]:
    """A run that is in order."""
    words = {"trainer": "sft", "model": str(light_llama), "data_path": str(chat_rows)}
    return {**words, "lr": 1e-4, "epochs": 1, "batch_size": 4}


def test_what_is_in_order_has_no_findings_and_a_plan(command):
    assert check(**command) == ()
    made = plan(**command)
    assert (made.trainer, made.steps, made.arguments.learning_rate) == ("sft", 12, 1e-4)
    assert made.as_json()["parameters"]["lr"] == {"value": 1e-4, "source": "command line"}
    json.dumps(made.as_json())


def test_checking_never_raises_for_what_a_user_can_get_wrong(tmp_path):
    assert {finding.code for finding in check()} == {"P201"}
    assert "P104" in {finding.code for finding in check(no_such_flag=1)}
    assert "P106" in {finding.code for finding in check(config=str(tmp_path / "none.yaml"))}
    assert "D101" in {finding.code for finding in check(data_path=str(tmp_path / "none.jsonl"))}
    assert "M102" in {finding.code for finding in check(model=str(tmp_path / "none"))}
    assert "P303" in {finding.code for finding in check(trainer="sftt")}


@pytest.mark.parametrize("start", [plan, train])
def test_what_would_be_refused_raises_with_every_finding(start, command, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(Refused) as refused:
        start(**{**command, "epochs": 0, "dpo_beta": 0.1, "output_dir": str(output)})
    findings = refused.value.findings
    assert [(finding.code, finding.severity) for finding in findings] == [("P101", "warning"), ("P301", "error")]
    assert all(isinstance(finding, Finding) for finding in findings)
    assert "--epochs must be above 0" in str(refused.value)
    assert not output.exists()


def test_a_warning_refuses_a_strict_run_only(command):
    assert plan(**command, dpo_beta=0.1).ignored == ("dpo_beta",)
    with pytest.raises(Refused) as refused:
        plan(**command, dpo_beta=0.1, strict=True)
    assert [finding.severity for finding in refused.value.findings] == ["warning"]


def test_a_plan_writes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan(**command)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_config_file_counts_and_keyword_arguments_win(command, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**command, "seed": 7, "weight_decay": 0.5}))
    made = plan(config=str(path), seed=8)
    assert (made.seed, made.arguments.weight_decay) == (8, 0.5)
    assert made.parameters["seed"].source == "command line"
    assert made.parameters["weight_decay"].source == "config file"


def test_a_config_file_without_data_is_checked_like_flags(command, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**command, "lerning_rate": 1, "dpo_beta": 0.1}))
    assert [finding.code for finding in check(config=str(path))] == ["P101", "P104"]


@pytest.mark.parametrize(
    "words",
    [
        "--trainer sft --dpo-beta 0.1",
        "--trainer ppo --use-distillation true --epochs 0 --lora-r 8",
        "--trainer dpo --model scratch:1m --lr 5 --scheduler cosin --nonsense 3 --grad-accum 3",
        "--trainer sftt --lr x",
        "--data-path nowhere.jsonl --model ./nowhere --lr 1e-5 --epochs 1 --batch-size 1",
        "--inference true",
        "--inference true --model ./nowhere --prompts hello",
        "--trainer sft --optimizer adamw_hf --padding right --use-flash-attention-2 true",
        "--trainer sft --use-sweep true --sweep-params [1]",
        "--trainer sft --use-distillation true --teacher-model gpt-4",
    ],
)
def test_the_findings_are_those_of_the_command(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["llm", *shlex.split(words), "--format", "json"]) == 2
    told = json.loads(capsys.readouterr().out)["findings"]
    assert told and [finding.as_json() for finding in check(**flags_of(words))] == told


def test_the_plan_is_that_of_the_command(command, capsys):
    words = [word for name, value in command.items() for word in (f"--{name}", str(value))]
    assert main(["llm", *words, "--dry-run", "--format", "json"]) == 0
    assert json.loads(json.dumps(plan(**command).as_json())) == json.loads(capsys.readouterr().out)["plan"]


def test_a_plan_holds_no_secret(command, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    made = plan(**command, push_to_hub=True, token="hf_given")
    assert "hf_given" not in repr(preflight(resolve({**command, "token": "hf_given"})).config)
    assert "hf_" not in json.dumps(made.as_json()) and made.parameters["token"].value == "(not shown)"
    assert "hf_given" not in repr(made)


def test_values_may_have_pythons_own_types(command, chat_rows):
    made = plan(**{**command, "data_path": chat_rows, "target_modules": ["q_proj", "v_proj"], "peft": True})
    assert made.adapter is not None and made.adapter.target_modules == ("q_proj", "v_proj")


def test_the_package_hands_out_its_functions_and_its_version_even_after_a_plan_was_made(command):
    plan(**command)  # loads the modules that make it; none of them may take a function's place
    functions = {"check", "plan", "plan_stages", "prepare", "train", "train_stages"}
    classes = {"Finding", "Plan", "RunReport", "PipelineReport", "ProgressCallback", "PipelineProgress"}
    exceptions = {"Refused", "RunFailed", "Interrupted"}
    assert dir(autotrain_llm) == sorted(["__version__", *functions, *classes, *exceptions])
    assert all(callable(getattr(autotrain_llm, name)) for name in functions | classes)
    assert all(issubclass(getattr(autotrain_llm, name), BaseException) for name in exceptions)
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        _ = autotrain_llm.chek


@pytest.mark.parametrize(
    "program",
    [
        "import autotrain_llm",
        "from autotrain_llm import check, plan, prepare, train",
        "from autotrain_llm import check; assert check(trainer='sft', dpo_beta=0.1, epochs=0)",
    ],
)
def test_importing_and_checking_flags_loads_nothing_heavy(program):
    told = f"import sys\n{program}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert HEAVY & set(run.stdout.split()) == set()


def test_a_whole_plan_is_made_without_torch_and_its_relatives(command):
    told = (
        "import sys, json\nfrom autotrain_llm import plan\nplan(**json.loads(sys.argv[1]))\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", told, json.dumps(command)], capture_output=True, text=True, check=True)
    assert HEAVY & set(run.stdout.split()) <= {"numpy"}


def test_plan_report_and_config_are_short_in_a_shell_and_tables_in_a_notebook(command, tmp_path):
    from autotrain_llm import RunReport

    made = plan(**{**command, "run_name": "<script>alert(1)</script>"})
    assert repr(made).startswith("<Plan: sft of ") and len(repr(made)) < 300
    report = RunReport(made, tmp_path / "<b>run</b>", {"loss": 1.5, "padding_saved": 0.0}, 12.0, try_it="autotrain llm")
    assert "loss 1.5, 12.0 s" in repr(report) and "padding" not in repr(report)
    assert repr(resolve({"lr": 1e-3})) == "Config(lr=0.001)"
    for shown in (made, report):
        page = shown._repr_html_()
        assert "<table>" in page and "<script" not in page and "<b>" not in page and len(page) < 8000


def test_progress_is_shown_where_it_is_asked_for(command, monkeypatch, capsys):
    from autotrain_llm import api

    monkeypatch.setattr(api, "carry_out", lambda checked, watch=None: watch)
    watch = train(**command, progress=True)
    watch.start(2, 0)
    watch.log(1, {"loss": 1.5})
    assert capsys.readouterr().err == "Training, 2 steps\nstep 1/2  loss 1.5\n"
    assert train(**command) is None
    with pytest.raises(TypeError, match="either"):
        train(watch, progress=True, **command)
