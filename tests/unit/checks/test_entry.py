"""The same checks at every entrance: command line, config file, Python, a kept plan's flags, a resumed run, the trial of a sweep."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path

import pytest
import yaml

import autotrain_llm
from autotrain_llm import check
from autotrain_llm.checks.preflight import preflight
from autotrain_llm.checks.rules.every import RULES
from autotrain_llm.cli.main import main
from autotrain_llm.cli.parser import read
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import resolve

FROM_FLAGS = [rule for rule in RULES.values() if rule.needs <= {"config", "trainer"} and rule.refuses]
SAID = {rule.code: read(shlex.split(rule.refuses)).values for rule in FROM_FLAGS}
# A config file can't hold what steers a command; inference is asked for on a command line alone.
IN_A_FILE = [code for code, values in SAID.items() if not any(PARAMS[name].command for name in values)]
# Faults that a command can have in whatever way it came about.
FAULTS = [
    {"lr": -1.0},
    {"lr": 3.0},
    {"dpo_beta": 0.1},
    {"lora_r": 4},
    {"block_size": 1},
    {"warmup_ratio": 0.9},
    {"text_column": "nothing"},
]


@pytest.fixture
def command(light_llama, chat_rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = {"trainer": "sft", "model": str(light_llama), "data_path": str(chat_rows), "lr": 1e-4, "epochs": 1.0}
    return {**words, "batch_size": 4}


def told(findings):
    return sorted(
        (finding["code"], finding["message"]) if isinstance(finding, dict) else (finding.code, finding.message)
        for finding in findings
    )


def typed(values):
    words = []
    for name, value in values.items():
        words += [PARAMS[name].flag, str(value)]
    return words


@pytest.mark.parametrize("code", SAID)
def test_python_is_told_what_the_command_line_is(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["llm", *shlex.split(RULES[code].refuses), "--dry-run", "--format", "json"])
    assert told(check(**SAID[code])) == told(json.loads(capsys.readouterr().out)["findings"])


@pytest.mark.parametrize("code", IN_A_FILE)
def test_a_config_file_is_told_what_the_command_line_is(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in SAID[code].items()}
    Path("run.yaml").write_text(yaml.safe_dump(plain))
    assert told(check(config="run.yaml")) == told(check(**SAID[code]))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: next(iter(fault)))
def test_a_resumed_run_and_a_trial_are_told_what_a_new_run_is(command, fault, tmp_path):
    expected = told(preflight(resolve(command | fault)).findings)
    assert expected
    whole = preflight(resolve(command))
    trial = preflight(resolve(command).replace(fault), earlier=whole.context)
    assert [finding for finding in expected if finding not in told(trial.findings)] == []
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.safetensors"):
        (checkpoint / name).write_bytes(b"")
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3}')
    going_on = {"output_dir": str(tmp_path / "out"), "resume": True}
    resumed = told(preflight(resolve(command | fault | going_on)).findings)
    assert [finding for finding in expected if finding not in resumed] == []


def test_every_way_to_a_run_leads_through_preflight():
    """Whoever carries out a run was handed what preflight checked."""
    root = Path(autotrain_llm.__file__).parent
    callers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("carry_out", "execute")
    }
    assert callers <= {
        "api.py",
        "cli/llm.py",
        "cli/stage_process.py",
        "run/launch/worker.py",
        "run/sweep/trial.py",
        "run/sweep/driver.py",
    }
    for name in callers - {
        "run/launch/worker.py"
    }:  # which carries out the plan that was made from what its parent has checked
        assert any(word in (root / name).read_text(encoding="utf-8") for word in ("preflight(", "check_arguments(")), (
            name
        )
