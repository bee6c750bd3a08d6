"""Whether a run fits into the memory of the device that it is planned for, and onto the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotrain_llm.context.output_dir import nearest_existing
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan


@rule("E541")
def a_run_must_fit_into_memory(plan: Plan) -> Iterator[Finding]:
    """The run takes more memory than the device has: this machine's, or that of `--target-memory`.

    Why: it would end in the middle of a step, after everything was loaded. The estimate was measured to lie within a fifth of what runs
    take (`benchmarks/memory.py`), so that a run is only refused where it would not fit if it took a fifth less; between that and the
    memory there is, it is a warning.
    Fix: the flags that are shown: the fewest with which the estimate fits, those first that change nothing of what is learnt.
    """
    from autotrain_llm.declare.text import show_bytes
    from autotrain_llm.planning.memory_budget import MARGIN

    memory, device = plan.memory, plan.memory.device
    needed, there = memory.peak_memory_bytes, device.memory_bytes
    if needed <= there:
        return
    surely = (1 - MARGIN) * needed > there
    whose = f"the {device.kind} of --target-memory" if device.as_named else f"this {device.kind}"
    changes = memory.smallest_fitting_change
    largest = max(memory.memory.items(), key=lambda part: part[1])
    yield Finding(
        f"the run takes about {show_bytes(needed)}, and {whose} has {show_bytes(there)}"
        + ("" if surely else ": it may not fit")
        + f" ({memory.moment}; {largest[0]}: {show_bytes(largest[1])})",
        fix=None if changes else "a smaller model, or a device with more memory",
        changes=changes or EMPTY,
        otherwise=f"which takes about {show_bytes(memory.bytes_after_change)}" if memory.bytes_after_change else "",
        parameters=tuple(_to_blame(plan)),
        severity="error" if surely else WARNING,
    )


@rule("E542")
def a_run_must_fit_onto_the_disk(plan: Plan) -> Iterator[Finding]:
    """The file system of the output folder has less room than the run's checkpoints and its finished model take.

    Why: a disk that is full ends a run while it saves, hours after it began. An error where not even one checkpoint has room; a warning
    where those that are kept, the one that is being written and the finished model have none together.
    Fix: fewer checkpoints, none at all, or a folder on another disk.
    """
    from autotrain_llm.declare.text import show_bytes

    each, saves = plan.memory.checkpoint_bytes, plan.arguments.save_strategy != "no"
    if not each or not saves or plan.memory.device.as_named:
        return
    free = free_on_disk(Path(plan.output.dir))
    kept = plan.arguments.save_total_limit
    count = min(kept, plan.steps) + 1
    needed = count * each
    if free is None or free >= needed:
        return
    what = (
        f"a checkpoint takes about {show_bytes(each)}"
        if free < each
        else f"{count} checkpoints take about {show_bytes(needed)}"
    )
    yield Finding(
        f"--output-dir {plan.output.dir}: {what}, and its disk has {show_bytes(free)} left",
        changes={"save_strategy": "no"} if free < 2 * each else {"save_total_limit": 1},
        otherwise="or --output-dir on another disk",
        parameters=("output_dir", "save_total_limit"),
        severity=ERROR if free < each else WARNING,
    )


def free_on_disk(folder: Path) -> int | None:
    """Bytes that are left where a folder is or will be; None where the system doesn't say."""
    try:
        return shutil.disk_usage(nearest_existing(folder)).free
    except OSError:
        return None


def _to_blame(plan: Plan) -> Iterator[str]:
    """The parameters that decide on memory and would have to be others."""
    if plan.memory.device.as_named:
        yield "target_memory"
    changes = plan.memory.smallest_fitting_change or {"batch_size": 1}
    yield from (name for name in changes if name != "gradient_accumulation")
