"""Processes that were started by something else plan for themselves, each from what its machine shows it: they compare their plans before any changes a file."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.engine.group import await_others, meet, of_all
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.version import VERSION

# Of a plan's parts, those by which processes would train differently: all of them, or these entries. Paths and reasons may differ between machines.
COMPARED: dict[str, tuple[str, ...] | None] = {
    "trainer": None,
    "engine": None,
    "seed": None,
    "steps": None,
    "arguments": None,
    "adapter": None,
    "model": ("model_type", "architecture", "parameters", "shape", "scores", "quantization", "attention", "revision"),
    "data": ("fingerprint", "rows", "eval_rows", "total_tokens"),
    "objective": ("name", "settings"),
    "length": ("tokens",),
    "layout": ("name", "packing"),
    "precision": ("name", "cpu", "checkpointing"),
    "sharding": ("kind", "shards"),
    "schedule": ("processes", "batch_size", "accumulated", "steps", "context_parallel", "patience"),
    "output": ("overwrite",),
}
CHECKPOINT, ROWS, VERSIONS = "checkpoint", "data.fingerprint", "versions"
SAME = "the same flags, files and versions of autotrain-llm and its packages for all processes"


def agree(plan: Plan, progress: ProgressCallback) -> None:
    """Compare this process's plan with those of all others. Raises RunFailed, in all of them, if one is going to do something else than the first."""
    if plan.schedule.processes == 1:
        return
    await_others(progress.note)
    meet(on_processors=plan.precision.cpu, offloads=bool(plan.sharding and plan.sharding.offload))
    plans = of_all((platform.node(), compared(plan)))
    (_, first), *others = plans
    for rank, (host, other) in enumerate(others, start=1):
        name = next((name for name in first if first[name] != other.get(name)), None)
        if name is not None:
            raise _difference(name, rank, host, first[name], other.get(name), plan)


def compared(plan: Plan) -> dict[str, Any]:
    """What all processes have to have in common, by its name in the plan; the checkpoint first, from which most other differences would follow."""
    checkpoint = plan.output.checkpoint
    values: dict[str, Any] = {
        CHECKPOINT: Path(checkpoint).name if checkpoint else None,
        VERSIONS: f"autotrain-llm {VERSION}, torch {torch.__version__}",
    }
    document = plan.as_json()
    for part, names in COMPARED.items():
        entry = document.get(part)
        if names is None or not isinstance(entry, dict):
            values[part] = entry
        else:
            values |= {f"{part}.{name}": entry.get(name) for name in names}
    return values


def _difference(name: str, rank: int, host: str, first: Any, other: Any, plan: Plan) -> RunFailed:
    who = f"process {rank}, on {host},"
    if name == CHECKPOINT:
        goes_on = [f"goes on from {value}" if value else "begins anew" for value in (first, other)]
        return RunFailed(
            f"the first process {goes_on[0]}, and {who} {goes_on[1]}",
            f"an --output-dir that all processes see ({plan.output.dir} was given); --resume-from-checkpoint names the checkpoint for all",
        )
    if name == ROWS:
        return RunFailed(
            f"the rows of {plan.data.path}, or their tokens, are not the same for {who} as for the first one", SAME
        )
    if isinstance(first, dict) and isinstance(other, dict):
        inner = next(key for key in [*first, *other] if first.get(key) != other.get(key))
        name, first, other = f"{name}.{inner}", first.get(inner), other.get(inner)
    return RunFailed(
        f"the processes don't have one plan: {name} is {first} for the first one, and {other} for {who[:-1]}", SAME
    )
