"""Whether a run fits into the memory of its device, and onto the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotrain_llm.context.output_dir import nearest_existing
from autotrain_llm.declare.example import SFT, Example, of_flags
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan


@rule("E541", example=of_flags("--target-memory 1MiB", "--target-memory 24GiB"))
def a_run_must_fit_into_memory(plan: Plan) -> Iterator[Finding]:
    """The run needs more memory than the device has: this machine's, or that of `--target-memory`.

    Why: the run would fail in the middle of a step, after everything was loaded. In measurements the estimate was at most a fifth too high or too
    low (`benchmarks/memory.py`). So this is an error if even four fifths of the estimate don't fit, and otherwise a warning.
    Fix: the flags that the finding shows, which are the smallest change that fits; flags that don't change what is learned are tried first.
    """
    from autotrain_llm.declare.text import show_bytes
    from autotrain_llm.planning.memory_budget import MARGIN

    memory, device = plan.memory, plan.memory.device
    needed, available = memory.peak_memory_bytes, device.memory_bytes
    if needed <= available:
        return
    surely = (1 - MARGIN) * needed > available
    whose = f"the {device.kind} of --target-memory" if device.as_named else f"this {device.kind}"
    who = "the run needs"
    if device.sharing > 1:
        who, whose = f"each of {device.sharing} processes needs", f"its part of {whose}'s memory is"
    else:
        whose += " has"
    changes = memory.smallest_fitting_change
    largest = max(memory.memory.items(), key=lambda part: part[1])
    # The parameters that decide on memory and would have to change.
    usual = {"num_processes": 1} if device.sharing > 1 else {"batch_size": 1}
    to_change = [name for name in changes or usual if name != "gradient_accumulation"]
    yield Finding(
        f"{who} about {show_bytes(needed)}, and {whose} {show_bytes(available)}"
        + ("" if surely else ": it may not fit")
        + f" (most {memory.moment}; the largest part is {largest[0]}: {show_bytes(largest[1])})",
        fix=None if changes else "a smaller model, or a device with more memory",
        changes=changes or EMPTY,
        otherwise=f"which needs about {show_bytes(memory.bytes_after_change)}" if memory.bytes_after_change else "",
        parameters=(*(("target_memory",) if device.as_named else ()), *to_change),
        severity=ERROR if surely else WARNING,
    )


@rule("E542", example=Example(SFT + "rows.jsonl", SFT + "rows.jsonl", on="where the disk is full"))
def a_run_must_fit_onto_the_disk(plan: Plan) -> Iterator[Finding]:
    """The disk of the output folder has less space than the run's checkpoints and its finished model need.

    Why: a full disk ends a run while it saves, hours after its start. It is an error if not even one checkpoint fits, and a warning if not all
    of them fit together: the checkpoints that are kept, the one that is being written and the finished model.
    Fix: fewer checkpoints, none at all, or a folder on another disk.
    """
    from autotrain_llm.declare.text import show_bytes

    each, saves = plan.memory.checkpoint_bytes, plan.arguments.save_strategy != "no"
    if not each or not saves or plan.memory.device.as_named:
        return
    free = free_on_disk(Path(plan.output.dir))
    count = min(plan.arguments.save_total_limit, plan.steps) + 1
    needed = count * each
    if free is None or free >= needed:
        return
    what = (
        f"a checkpoint needs about {show_bytes(each)}"
        if free < each
        else f"{count} checkpoints need about {show_bytes(needed)}"
    )
    yield Finding(
        f"--output-dir {plan.output.dir}: {what}, and its disk has {show_bytes(free)} left",
        changes={"save_strategy": "no"} if free < 2 * each else {"save_total_limit": 1},
        otherwise="or --output-dir on another disk",
        parameters=("output_dir", "save_total_limit"),
        severity=ERROR if free < each else WARNING,
    )


def free_on_disk(folder: Path) -> int | None:
    """Bytes that are free where a folder is or will be; None if the system doesn't say."""
    try:
        return shutil.disk_usage(nearest_existing(folder)).free
    except OSError:
        return None
