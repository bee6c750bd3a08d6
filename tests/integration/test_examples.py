"""The examples run as they are."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotrain_llm import train
from support.fork_server import forked_python
from support.paths import PROJECT

EXAMPLES = PROJECT / "examples"


def test_the_python_example_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("python_api", EXAMPLES / "python_api.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main(tmp_path) < 0.5
    said = capsys.readouterr().out
    assert "warning: dpo_beta only applies to DPO trainer, will be ignored" in said
    assert "240 steps are planned" in said


@pytest.mark.quick
def test_the_mixture_runs_as_its_file_describes_it(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EXAMPLES / "mixture", tmp_path / "mixture"))
    subprocess.run([sys.executable, "make_rows.py"], cwd=folder, check=True)
    usual = {"trainer": "sft", "model": "scratch:60k", "lr": 1e-3, "max_steps": 3, "batch_size": 8, "eval_steps": 3}
    report = train(**usual, data_config=str(folder / "mix.yaml"), output_dir=str(tmp_path / "run"))
    sums, letters = report.plan.data.sources
    assert (sums.rows_of_epoch, letters.rows_of_epoch) == (84, 36) and letters.passes > 1 > sums.passes
    assert {"eval_loss", "eval_sums_loss", "eval_letters_loss"} <= report.metrics.keys()


def test_the_pipeline_example_trains_its_six_stages_and_measures_them(tmp_path: Path) -> None:
    command = [forked_python(), str(EXAMPLES / "pipeline" / "run.py"), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["stage", "---", "new model", "pretrain", "midtrain", "sft", "dpo", "ppo"]
    assert "The reward model" in done.stdout
