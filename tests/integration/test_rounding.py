"""Weights are trained in float32 and written as the model's files are: what 16 bits lose of a training is measured and said."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autotrain_llm.cli.main import main
from autotrain_llm.models.locate import locate
from autotrain_llm.planning.summary import summary
from autotrain_llm.run.artifacts import rounding
from autotrain_llm.run.artifacts.rounding import Rounding
from support.models import build_llama
from support.processes import run_together
from support.short_runs import LORA, short_run

SHARDED = (str(Path(__file__).parent.parent / "programs" / "sharded_on_cpu.py"),)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose files are bf16."""
    folder = build_llama(tmp_path_factory.mktemp("models") / "half", None)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def codes(report: Any) -> list[str]:
    return [finding.code for finding in report.observations]


def test_a_training_that_bf16_loses_is_named_with_a_command_that_keeps_it(half: Path, tmp_path: Path) -> None:
    """P746"""
    report = short_run("generic", half, tmp_path, lr=1e-7, save_steps=2)
    before, finished, trained = (
        weights(path) for path in (half, tmp_path / "run", tmp_path / "run/checkpoints/checkpoint-2")
    )
    assert report.plan.model.saved_dtype == "bf16" and "written in" in str(summary(report.plan))
    assert report.rounded_away > 0.5 and codes(report) == ["P746"]
    assert json.loads((tmp_path / "run/run.json").read_text())["outcome"]["rounded_away"] == report.rounded_away
    assert distance(finished, trained) > 0.5 * distance(before, trained)
    fix = shlex.split(report.observations[0].fix)
    assert main([*fix[1:], "--output-dir", str(tmp_path / "exported")]) == 0
    assert distance(weights(tmp_path / "exported"), trained) == 0


def test_a_larger_change_is_kept(half: Path, tmp_path: Path) -> None:
    report = short_run("generic", half, tmp_path, lr=1e-2)
    assert report.rounded_away < 0.05 and codes(report) == []


def test_a_merged_adapter_is_measured_too(half: Path, tmp_path: Path) -> None:
    report = short_run("generic", half, tmp_path, lr=1e-7, merge_adapter=True, **LORA)
    assert codes(report) == ["P746"] and report.plan.model.saved_dtype == "bf16"


@pytest.mark.parametrize("lora", [{}, LORA])
def test_nothing_is_said_where_nothing_is_rounded(
    lora: dict[str, Any], half: Path, llama: Path, tmp_path: Path
) -> None:
    """A model in float32, and an adapter, which is written in float32."""
    report = short_run("generic", half if lora else llama, tmp_path, lr=1e-7, **lora)
    assert report.rounded_away is None and report.plan.model.saved_dtype is None


def test_blocks_of_a_large_tensor_measure_what_all_of_it_would(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    trained = {name: tensor + 2e-5 * torch.randn_like(tensor) for name, tensor in weights(half).items()}
    shares = []
    for sample in (1 << 20, 1 << 10):
        monkeypatch.setattr(rounding, "SAMPLE", sample)
        measured = Rounding(locate(str(half)), torch.bfloat16)
        for name, tensor in trained.items():
            measured.add(name, tensor)
        shares.append(measured.lost)
    assert 0.05 < shares[0] < 0.95 and shares[1] == pytest.approx(shares[0], rel=0.2)


def test_processes_that_divide_the_weights_measure_what_one_does(half: Path, tmp_path: Path) -> None:
    report = short_run("generic", half, tmp_path, lr=1e-7)
    words = ["llm", "--trainer", "generic", "--model", str(half), "--data-path", str(tmp_path / "documents.jsonl"), "--lr", "1e-7", "--max-steps", "2", "--batch-size", "2", "--mixed-precision", "fp32", "--shard", "full", "--output-dir", str(tmp_path / "divided")]  # fmt: skip
    run_together(words, tmp_path, program=SHARDED)
    outcome = json.loads((tmp_path / "divided" / "run.json").read_text())["outcome"]
    assert outcome["rounded_away"] == pytest.approx(report.rounded_away, abs=0.02)
