"""Whether a run fits into the memory of the device that it is planned for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:
    from autotrain_llm.planning import Plan


@rule("E541")
def a_run_must_fit_into_memory(plan: Plan) -> Iterator[Finding]:
    """The run takes more memory than the device has: this machine's, or that of `--target-memory`.

    Why: it would end in the middle of a step, after everything was loaded. The estimate was measured to lie within a fifth of what runs
    take (`benchmarks/memory.py`), so that a run is only refused where it would not fit if it took a fifth less; between that and the
    memory there is, it is a warning.
    Fix: the flags that are shown: the fewest with which the estimate fits, those first that change nothing of what is learnt.
    """
    from autotrain_llm.decisions.memory import MARGIN, show_bytes

    cost = plan.estimate
    needed, device = cost["peak_memory_bytes"], cost["device"]
    there = device["memory_bytes"]
    if needed <= there:
        return
    surely = (1 - MARGIN) * needed > there
    whose = f"the {device['kind']} of --target-memory" if device["as_named"] else f"this {device['kind']}"
    changes = cost["way_out"]
    largest = max(cost["memory"].items(), key=lambda part: part[1])
    yield Finding(
        f"the run takes about {show_bytes(needed)}, and {whose} has {show_bytes(there)}"
        + ("" if surely else ": it may not fit")
        + f" ({cost['moment']}; {largest[0]}: {show_bytes(largest[1])})",
        fix=None if changes else "a smaller model, or a device with more memory",
        changes=changes or EMPTY,
        otherwise=f"which takes about {show_bytes(cost['way_out_bytes'])}" if changes else "",
        parameters=tuple(_to_blame(plan)),
        severity="error" if surely else WARNING,
    )


def _to_blame(plan: Plan) -> Iterator[str]:
    """The parameters that decide on memory and would have to be others."""
    if plan.estimate["device"]["as_named"]:
        yield "target_memory"
    changes = plan.estimate["way_out"] or {"batch_size": 1}
    yield from (name for name in changes if name != "gradient_accumulation")
