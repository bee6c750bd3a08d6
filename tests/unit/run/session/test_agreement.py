"""Processes that plan for themselves compare their plans before any of them changes a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import plan as make_plan
from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.session import agreement
from support.rows import write_rows


@pytest.fixture
def plan(tmp_path: Path, light_llama: Path) -> Plan:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": f"what is {n}?", "completion": f"{n}"} for n in range(12)])
    named = {"model": str(light_llama), "data_path": str(rows), "output_dir": str(tmp_path / "run")}
    return make_plan(trainer="sft", lr=1e-3, epochs=1, batch_size=2, num_processes=2, **named)


def elsewhere(plan: Plan) -> Plan:
    """The same plan on another machine, where files lie elsewhere and there is more memory."""
    model = dataclasses.replace(plan.model, folder="/elsewhere", cache_dir="/cache")
    memory = dataclasses.replace(plan.memory, peak_memory_bytes=7)
    return dataclasses.replace(plan, model=model, memory=memory, parameters={})


CHANGES: dict[str, tuple[Callable[[Plan], dict[str, Any]], str]] = {
    "checkpoint": (
        lambda plan: {"output": dataclasses.replace(plan.output, checkpoint="/runs/checkpoint-6")},
        "the first process begins anew, and process 1, on second, goes on from checkpoint-6",
    ),
    "rows": (
        lambda plan: {"data": dataclasses.replace(plan.data, fingerprint="other")},
        "or their tokens, are not the same for process 1, on second,",
    ),
    "rate": (
        lambda plan: {"arguments": dataclasses.replace(plan.arguments, learning_rate=0.5)},
        "arguments.learning_rate is 0.001 for the first one, and 0.5 for process 1",
    ),
    "checkpointing": (
        lambda plan: {"precision": dataclasses.replace(plan.precision, checkpointing=not plan.precision.checkpointing)},
        "precision.checkpointing is",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_processes_with_different_plans_are_told_what_differs(
    name: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, expected = CHANGES[name]
    others = [elsewhere(plan), dataclasses.replace(plan, **change(plan))]
    monkeypatch.setattr(agreement, "meet", lambda **settings: None)
    monkeypatch.setattr(agreement, "await_others", lambda note: None)
    plans = [("first", agreement.compared(plan))]
    monkeypatch.setattr(agreement, "of_all", lambda own: [*plans, ("second", agreement.compared(others[0]))])
    agreement.agree(plan, ProgressCallback())
    monkeypatch.setattr(agreement, "of_all", lambda own: [*plans, ("second", agreement.compared(others[1]))])
    with pytest.raises(RunFailed, match=expected):
        agreement.agree(plan, ProgressCallback())
