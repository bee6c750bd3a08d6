"""Decide the strategies of evaluation and saving, as given, or as a given number of steps implies; and how many batches make a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.resumed_run import ResumedRun, resumed_run

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext


def asked_evaluation(config: Config) -> str | None:
    """The given evaluation strategy; `--eval-steps` alone means steps. None: it depends on whether there are evaluation rows."""
    return config.eval_strategy or ("steps" if config.given("eval_steps") and config.eval_steps else None)


def asked_saving(config: Config) -> str | None:
    """The given saving strategy; `--save-steps` alone means steps. None: it follows the evaluation."""
    return config.save_strategy or ("steps" if config.given("save_steps") and config.save_steps else None)


def accumulated_batches(config: Config, context: RunContext) -> int:
    """The batches of an optimizer step on each process: those of `--global-batch`, those that a resumed run needs for its rows, or
    `--gradient-accumulation`."""
    rows = config.global_batch or _rows_of_resumed_step(config, context)
    if not rows or not config.batch_size:
        return config.gradient_accumulation
    return max(1, math.ceil(rows / (config.batch_size * batches_at_once(config, context))))


def batches_at_once(config: Config, context: RunContext) -> int:
    """How many batches are computed at a time: one on each process, or on each group of processes that divide one."""
    return max(1, context.machine.processes // config.context_parallel)


def _rows_of_resumed_step(config: Config, context: RunContext) -> int | None:
    """The rows of a step of the run that is resumed, which another number of processes keeps; None where the flags that they follow from have changed."""
    run = resumed_run(context.output)
    if run is None or config.use_sweep or config.trainer_spec.samples:
        return None
    same = all(
        run.planned("parameters", name, "value") == config.value_of(name)
        for name in ("batch_size", "gradient_accumulation")
    )
    return rows_of_step_before(run) if same else None


def sizes_of_step_before(run: ResumedRun) -> tuple[Any, Any, Any]:
    """The batch size, the accumulated batches, and the batches that were computed at once in the run that is resumed; None for what its record doesn't
    say."""
    batch, accumulated, processes = (run.planned("schedule", key) for key in ("batch_size", "accumulated", "processes"))
    divided = run.planned("schedule", "context_parallel") or 1
    return batch, accumulated, processes // divided if isinstance(processes, int) else None


def rows_of_step_before(run: ResumedRun) -> int | None:
    """The rows of an optimizer step of the run that is resumed: the product of these sizes; None if its record does not say."""
    sizes = sizes_of_step_before(run)
    return math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None


def fitting_batch_size(rows: int, processes: int, most: int) -> int | None:
    """The largest batch size up to `most` of which a step of so many rows is made of whole batches on each process; None if there is none."""
    return next((size for size in range(most, 0, -1) if rows % (size * processes) == 0), None)
