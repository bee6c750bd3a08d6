"""What a command may load before it knows that it will train."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "trl",
    "peft",
    "optuna",
    "pydantic",
    "accelerate",
    "numpy",
    "pyarrow",
    "rich",
    "jinja2",
}
PROGRAM = """
import json, sys
from autotrain_llm.cli.main import main
status = main(sys.argv[1:])
sys.stdout.flush()
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""
COMMANDS = {
    "help": (0, ["llm", "--help"]),
    "help of a trainer": (0, ["llm", "--trainer", "dpo", "--help"]),
    "version": (0, ["--version"]),
    "no command": (2, []),
    "explain": (0, ["llm", "--explain", "P101"]),
    "completion": (0, ["completion", "bash"]),
    "refused": (2, ["llm", "--trainer", "sft", "--dpo-beta", "0.2", "--epochs", "0"]),
    "refused as JSON": (2, ["llm", "--trainer", "ppo", "--use-distillation", "--format", "json"]),
    "config": (2, ["llm", "--config", "run.yaml"]),
    "help of chat": (0, ["chat", "--help"]),
    "chat refused": (2, ["chat", "nowhere/at-all", "--against", "base"]),
    "help of app": (0, ["app", "--help"]),
    "app refused": (2, ["app", "nowhere"]),
    "a command of another tool": (2, ["tools", "merge-llm-adapter"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_does_not_train_loads_no_heavy_library(name, tmp_path):
    (tmp_path / "run.yaml").write_text("trainer: sft\nlr: 0.0001\nepochs: 0\n")
    status, words = COMMANDS[name]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
        check=False,
    )
    got, modules = json.loads(run.stderr.splitlines()[-1])
    assert got == status, run.stderr
    assert HEAVY & set(modules) == set()


def test_refusing_flags_loads_neither_dataclasses_nor_hashlib_nor_the_code_that_reads_rows():
    words = COMMANDS["refused"][1]
    run = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)
    _, modules = json.loads(run.stderr.splitlines()[-1])
    assert {"dataclasses", "inspect", "hashlib"} & set(modules) == set()
    assert [name for name in modules if name.startswith("autotrain_llm.data.")] == []


def test_help_loads_neither_argparse_nor_dataclasses_nor_the_rules():
    run = subprocess.run([sys.executable, "-c", PROGRAM, "llm", "--help"], capture_output=True, text=True, check=True)
    _, modules = json.loads(run.stderr.splitlines()[-1])
    assert {"argparse", "dataclasses", "inspect", "pathlib", "typing"} & set(modules) == set()


def test_importing_the_package_loads_no_heavy_library():
    program = "import sys, autotrain_llm; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert HEAVY & set(run.stdout.split()) == set()
