"""Where metrics are logged."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import where
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.schedule import Schedule

TRACKERS = ("tensorboard", "wandb", "trackio")


@rule("P319", refuses="--log tensorbord", accepts="--log tensorboard")
def a_tracker_must_be_one_that_is_supported(schedule: Schedule) -> Iterator[Finding]:
    """`--log` names something that is not a supported tracker.

    Why: a log that goes nowhere is noticed only after the run.
    Fix: tensorboard, wandb, trackio, or several separated by commas.
    """
    unknown = [name for name in schedule.log if name not in TRACKERS]
    if unknown:
        yield Finding(
            f"--log must be among {', '.join(TRACKERS)}, got {', '.join(unknown)}",
            changes={"log": [name for name in schedule.log if name in TRACKERS] or "tensorboard"},
            parameters=("log",),
        )


@rule("E505", example=where("where wandb is not installed", "--log wandb", "--log none"))
def a_tracker_must_be_installed(schedule: Schedule, machine: Machine) -> Iterator[Finding]:
    """`--log` names a tracker whose package is not installed.

    Why: nothing would be logged.
    Fix: install it.
    """
    for name in schedule.log:
        if name in TRACKERS and not machine.has_package(name):
            yield Finding(
                f"--log {name} needs the package {name}, which is not installed",
                fix=f'pip install "autotrain-llm[{name}]"',
                parameters=("log",),
            )
