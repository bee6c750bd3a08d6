"""Resumed runs: nothing of a step is lost wherever a run is stopped, and what is typed on resume is what is trained."""

from __future__ import annotations

import gc
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport
from support.rows import write_rows

BY_STEPS = {"max_steps": 10, "eval_steps": 1, "early_stopping_patience": 3}
SAVING_LESS = {"max_steps": 10, "eval_steps": 1, "save_steps": 2, "early_stopping_patience": 3}
BY_EPOCHS = {"epochs": 5, "eval_strategy": "epoch", "early_stopping_patience": 1}
CHOOSING = {"valid_split": "8", "load_best_model_at_end": True}


@pytest.fixture(autouse=True)
def quick_garbage_collection() -> Iterator[None]:
    """Each training collects garbage: what was imported until now is left out."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def command(llama: Path, tmp_path: Path) -> dict[str, Any]:
    """Two steps an epoch, at a rate that is too high to improve for long."""
    rows = str(write_rows(tmp_path / "rows.jsonl", [{"text": f"{number} is {number % 3}."} for number in range(24)]))
    flags = {"trainer": "generic", "model": str(llama), "data_path": rows, "batch_size": 8, "lr": 1.5e-1}
    return {**flags, "block_size": 8, "mixed_precision": "fp32", "scheduler": "constant", "logging_steps": 1}


def run(output: Path, **flags: Any) -> RunReport:
    """A run without its report."""
    said = parse_kwargs({**flags, "output_dir": str(output)})
    assert said.findings == []
    checked = preflight(resolve(said.values))
    assert checked.plan is not None and not checked.refused, [finding.message for finding in checked.findings]
    return execute(checked.plan, inputs_of(checked.plan, checked.context), with_page=False)


def stopped(output: Path, where: str, step: int, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> str | None:
    """The last message of a run that gets a SIGTERM in a method of the loop, at this step; None if it ended nevertheless."""
    original: Callable[..., Any] = getattr(Loop, where)
    left = [step]

    def method(self: Loop, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        if [self.state.global_step + (where == "training_step")] == left:
            left.clear()
            signal.raise_signal(signal.SIGTERM)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Loop, where, method)
        try:
            run(output, **flags)
        except Interrupted as interrupted:
            return interrupted.message
    return None


def end_of(output: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a finished run, and what its record says about the end."""
    record = json.loads((output / "run.json").read_text())
    metrics = {name: value for name, value in record["metrics"].items() if name.startswith("eval_") or name == "loss"}
    record["outcome"].pop("matmul_peak", None)  # measured anew
    metrics.pop("eval_seconds", None)
    return load_file(output / "model.safetensors"), {"status": record["status"], **record["outcome"], **metrics}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("schedule", "where"),
    [(BY_STEPS, "training_step"), (BY_STEPS, "evaluate"), (SAVING_LESS, "training_step"), (BY_EPOCHS, "training_step")],
    ids=["in a step", "in an evaluation", "where fewer are saved", "by epochs"],
)
def test_a_run_that_is_stopped_at_every_step_ends_as_one_that_was_not(
    schedule: dict[str, Any], where: str, command: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {**command, **CHOOSING, **schedule}
    run(tmp_path / "whole", **flags)
    weights, outcome = end_of(tmp_path / "whole")
    assert outcome["best_checkpoint"] != f"checkpoints/checkpoint-{outcome['steps']}", "the best is not the last"
    output, stops = tmp_path / "stopped", 0
    for step in range(1, outcome["steps"] + 1):
        resume = {"resume": True} if stops else {}
        stops += stopped(output, where, step, monkeypatch, **flags, **resume) is not None
    run(output, **flags, resume=True)
    weights_of_resumed, outcome_of_resumed = end_of(output)
    assert outcome_of_resumed == outcome
    assert same(weights_of_resumed, weights)
    assert stops == outcome["steps"]
