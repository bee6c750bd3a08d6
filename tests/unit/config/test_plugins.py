"""Trainers of other packages: the example package, installed beside this one, and packages at fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.rows import write_rows

EXAMPLE = Path(__file__).parents[3] / "examples" / "plugin"


def run(*words: str, beside: Path) -> subprocess.CompletedProcess[str]:
    """The program with another folder of packages."""
    paths = os.pathsep.join([str(beside), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-m", "autotrain_llm", *words], env=environment, capture_output=True, text=True, check=False
    )


def package(folder: Path, code: str, entry: str, name: str) -> None:
    """A package of one module that offers a trainer, as if it had been installed."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(f"[autotrain_llm.trainers]\n{name} = {entry}\n")
    (folder / f"{name}.py").write_text(code)


def faults_of(trainer: str, beside: Path) -> list[str]:
    """What a check says about other packages."""
    dry = run("llm", "--trainer", trainer, "--dry-run", "--format", "json", beside=beside)
    return [one["message"] for one in json.loads(dry.stdout)["findings"] if one["code"] == "P712"]


@pytest.mark.slow
def test_the_example_package_adds_a_trainer(llama: Path, tmp_path: Path) -> None:
    source = shutil.copytree(EXAMPLE, tmp_path / "source")  # building writes into it
    target = tmp_path / "packages"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    assert "--simpo-gamma" in run("llm", "--trainer", "simpo", "--help", beside=target).stdout
    pairs = [{"prompt": f"Number {at}: ", "chosen": "red, it is", "rejected": "no"} for at in range(16)]
    rows = write_rows(tmp_path / "pairs.jsonl", pairs)
    command = (
        f"llm --trainer simpo --model {llama} --data-path {rows} --lr 1e-4 --epochs 8 --batch-size 4 --simpo-gamma 0.3"
    )
    command += " --prompt-text-column prompt --rejected-text-column rejected --logging-steps 1 --format json"
    done = run(*command.split(), "--output-dir", str(tmp_path / "run"), beside=target)
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert document["plan"]["trainer"] == "simpo" and document["findings"] == []
    lines = (json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    history = [line for line in lines if "rewards/margins" in line]
    assert history[-1]["loss"] < history[0]["loss"] and history[-1]["rewards/margins"] > history[0]["rewards/margins"]


AT_FAULT = {
    "broken": ("raise RuntimeError('broken')", "broken", "RuntimeError: broken"),
    "number": ("TRAINER = 1", "number", "is of type int, and not a Trainer"),
    "again": ("from autotrain_llm.trainers.sft import TRAINER", "again", "there is a trainer sft already"),
    "empty": ("", "nowhere", "No module named 'nowhere'"),
}


def test_packages_at_fault_are_named_and_the_rest_works(tmp_path: Path) -> None:
    """The finding is P712."""
    for name, (code, module, _) in AT_FAULT.items():
        package(tmp_path, code, f"{module}:TRAINER", name)
    faults = faults_of("sft", beside=tmp_path)
    assert len(faults) == len(AT_FAULT)
    for name, (_, _, problem) in AT_FAULT.items():
        assert any(problem in fault and f"the package {name}" in fault for fault in faults), name


@pytest.mark.parametrize("shared", [True, False])
def test_two_packages_can_not_have_the_same_parameter(shared: bool, tmp_path: Path) -> None:
    for name in ("first", "second"):
        parameter = "margin" if shared else f"margin_{name}"
        code = f"""
from __future__ import annotations
from autotrain_llm.declare.param import group, param
from autotrain_llm.trainers.sft import TRAINER as SFT
@group("Of {name}")
class {name.title()}:
    {parameter}: float = param(0.1, "A margin.")
TRAINER = SFT.replace(name="{name}", groups=(*SFT.groups, {name.title()}))
"""
        package(tmp_path, code, f"{name}:TRAINER", name)
    faults = faults_of("first", beside=tmp_path)
    assert len(faults) == shared
    assert all("second:TRAINER" in one and "parameter margin is one of another trainer" in one for one in faults)
