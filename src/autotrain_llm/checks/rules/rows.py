"""What flags ask of the rows that only the rows can answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.planning.schedule import asked_evaluation
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:  # reading rows takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext

STEP = ("batch_size", "gradient_accumulation")


@rule("M180", WARNING)
def a_step_has_rows_enough(config: Config, trainer: Trainer, context: RunContext) -> Iterator[Finding]:
    """`--batch-size` and `--gradient-accumulation` ask for more rows a step than there are to train on.

    Why: a step never sees a row twice, so that it learns from all rows and from no more: an epoch is one step, and the learning rate, meant
    for the larger batch, is too high for it. Only an accumulation that was asked for is complained of.
    Fix: a smaller batch, or more epochs to make up for it.
    """
    given = [name for name in STEP if config.given(name)]
    if (
        trainer.samples
        or "gradient_accumulation" not in given
        or context.prepared is None
        or not len(context.prepared.train)
    ):
        return
    if any(not config.value_of(name) or config.value_of(name) < 1 for name in STEP):
        return  # which is said already
    processes = context.machine.processes
    wanted = config.batch_size * config.gradient_accumulation * processes
    rows = _answers_or_rows(context, trainer)
    if rows >= wanted:
        return
    asked = " and ".join(f"{flag_of(name)} {config.value_of(name)}" for name in given)
    spread = f" of {processes} processes" if processes > 1 else ""
    yield Finding(
        f"{asked} make a step{spread} of {wanted} rows, and there are {rows}: each step learns from all of them",
        changes={given[-1]: max(1, config.value_of(given[-1]) * rows // wanted)},
        parameters=tuple(given),
    )


def _answers_or_rows(context: RunContext, trainer: Trainer) -> int:
    """How many rows there are to train on, as the trainer counts them."""
    assert context.prepared is not None
    apart = trainer.parts_pairs and context.dataset is not None and context.dataset.format == "preference"
    return len(context.prepared.train) * (2 if apart else 1)


@rule("P729", WARNING)
def an_evaluation_comes_before_the_run_is_over(
    config: Config, trainer: Trainer, context: RunContext
) -> Iterator[Finding]:
    """`--eval-steps` is more than the steps of the whole run.

    Why: the run ends before its first evaluation, so that nothing is measured on the way.
    Fix: fewer, or `--eval-strategy epoch`.
    """
    every = config.eval_steps
    if trainer.samples or asked_evaluation(config) != "steps" or not every or context.prepared is None:
        return
    if trainer.reads("packing") and config[Sft].packing:  # fewer rows than were read
        return
    rows, epochs = _answers_or_rows(context, trainer), config.epochs
    together = config.batch_size * config.gradient_accumulation * context.machine.processes
    steps = config.max_steps or -1
    if steps < 0:
        steps = max(1, math.ceil(math.ceil(rows / together) * (epochs or 1)))
    if rows and every > steps:
        yield Finding(
            f"--eval-steps {every} is more than the {steps} steps of the whole run: it ends before the first evaluation",
            changes={"eval_steps": max(1, steps // 4)},
            parameters=("eval_steps",),
        )
