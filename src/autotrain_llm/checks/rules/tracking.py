"""Where metrics are logged."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import of_flags, where
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import exactly, flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.params.schedule import Schedule
from autotrain_llm.planning.trackers import TRACKERS, named_by_environment, switched_off_by

OF_TRACKERS = ("tracker_project", "run_name")


@rule("P319", refuses="--log tensorbord", accepts="--log tensorboard")
def a_tracker_must_be_one_that_is_supported(schedule: Schedule) -> Iterator[Finding]:
    """`--log` names something that is not a supported tracker.

    Why: a log that goes nowhere is noticed only after the run.
    Fix: tensorboard, wandb, trackio, mlflow, or several separated by commas.
    """
    unknown = [name for name in schedule.log if name not in TRACKERS]
    if not unknown:
        return
    meanings = {name: PARAMS["log"].meaning_of(name) for name in unknown}
    lost = [f"{name}: {meaning.lost}" for name, meaning in meanings.items() if meaning and meaning.lost]
    always = {name for name, meaning in meanings.items() if meaning == exactly()}
    meant = [
        name if name in TRACKERS else nearest(name, TRACKERS, cutoff=0.75)
        for name in schedule.log
        if name not in always
    ]
    names = list(dict.fromkeys(name for name in meant if name))
    is_certain = None not in meant and not lost
    instead = {"log": names or (None if is_certain else "tensorboard")}
    yield Finding(
        f"--log must be among {', '.join(TRACKERS)}, got {', '.join(unknown)}"
        + (f" ({'; '.join(lost)})" if lost else ""),
        changes=instead if is_certain else {},
        guess={} if is_certain else instead,
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


@rule(
    "P747",
    example=of_flags(
        "--log wandb",
        "--log none",
        command="WANDB_DISABLED=true llm --trainer sft --model MODEL --lr 1e-4 --epochs 1 --batch-size 2 --data-path ",
        on="where wandb is installed",
        on_right="where wandb is installed",
    ),
    varies=True,
)
def the_environment_does_not_switch_a_tracker_off(schedule: Schedule, machine: Machine) -> Iterator[Finding]:
    """`--log` names a tracker that an environment variable switches off: `WANDB_DISABLED=true`, `WANDB_MODE=disabled` or `DISABLE_MLFLOW_INTEGRATION=TRUE`.

    Why: one of them is not meant. wandb 0.31 doesn't read `WANDB_DISABLED` and would log what it is to keep from being logged, which is an error; the others leave a
    run without the log that the flag asks for.
    Fix: unset the variable, or leave the tracker out.
    """
    for name in schedule.log:
        variable = switched_off_by(name, machine.environment)
        if variable is not None:
            others = [other for other in schedule.log if other != name]
            yield Finding(
                f"--log {name} and the environment variable {variable} contradict each other: the variable is to switch {name} off",
                fix=f"unset {variable.partition('=')[0]}, or --log {','.join(others) or 'none'}",
                parameters=("log",),
                severity=ERROR if variable.startswith("WANDB_DISABLED") else WARNING,
            )


@rule("P739", WARNING, refuses="--run-name first", accepts="--log tensorboard --run-name first")
def a_name_for_trackers_needs_a_tracker(config: Config) -> Iterator[Finding]:
    """`--tracker-project` or `--run-name` without `--log`.

    Why: they name the run where a tracker shows it. Its folder is `--output-dir`, and a tracker logs only if `--log` names it.
    Fix: name a tracker, or remove the flag.
    """
    if config.log:
        return
    by_wandb = config.use_sweep and config.sweep_backend == "wandb"  # which has the sweep in the project
    for name in OF_TRACKERS:
        if config.given(name) and config.value_of(name) and not (by_wandb and name == "tracker_project"):
            yield Finding(
                f"{flag_of(name)} has no effect without --log",
                changes={name: None},
                otherwise=f"or --log with one of {', '.join(TRACKERS)}",
                parameters=(name,),
            )


@rule(
    "P737",
    WARNING,
    example=of_flags(
        "--log tensorboard,wandb --tracker-project mine",
        "--log tensorboard,wandb",
        command="WANDB_PROJECT=ours llm --trainer sft --model MODEL --lr 1e-4 --epochs 1 --batch-size 2 --data-path ",
        on="where wandb is installed",
        on_right="where wandb is installed",
    ),
)
def the_environment_names_another_project(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--tracker-project` and a tracker's own environment variable name different projects.

    Why: the variable is for one tracker, the flag for all of them, so the variable wins for its tracker.
    Fix: unset the variable, or remove the flag.
    """
    if not config.given("tracker_project"):
        return
    for name in config.log:
        other = named_by_environment(name, machine.environment) if name in TRACKERS else None
        if other and other != config.tracker_project:
            yield Finding(
                f"--tracker-project {config.tracker_project} is not used for {name}: {TRACKERS[name]} names the project {other}",
                fix=f"unset {TRACKERS[name]}",
                parameters=("tracker_project",),
            )
