"""Which parameters a trainer has a use for, and which mixins it can be combined with."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import FOREIGN, GROUP, PARAMS, REFUSED, UNUSED, trainers_that_read, verdict
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer


@rule("P101", WARNING, refuses="--trainer sft --dpo-beta 0.1", accepts="--trainer dpo --dpo-beta 0.1")
def a_parameter_of_another_trainer_is_ignored(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A parameter was given that this trainer does not read.

    Why: a flag without effect hides a misunderstanding. What was given counts, even where it equals the default; the value is
    dropped, and the run is the same as without it.
    Fix: remove the flag, or choose a trainer that reads it.
    """
    for name in config.all_given():
        if verdict(PARAMS[name], trainer) == FOREIGN:
            yield Finding(
                f"{name} only applies to {_trainer_names(name)}, will be ignored",
                changes={name: None},
                otherwise=_instead(name, trainer),
                parameters=(name,),
            )


def _trainer_names(name: str) -> str:
    titles = [trainer.title for trainer in trainers_that_read(name)]
    if len(titles) == 1:
        return f"{titles[0]} trainer"
    return f"{', '.join(titles[:-1])} and {titles[-1]} trainers"


def _instead(name: str, trainer: Trainer) -> str:
    other = next((counterpart for counterpart in PARAMS[name].counterparts if trainer.reads(counterpart)), None)
    instead = f"; {PARAMS[other].flag} is what it reads in its place" if other else ""
    return f"which {trainer.name} does not read{instead}"


@rule("P107", WARNING, refuses="--trainer orpo --model-ref other", accepts="--trainer dpo --model-ref other")
def a_parameter_without_effect_is_said_to_have_none(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A parameter was given that this trainer accepts and has no use for.

    Why: older guides list it for this trainer, so commands carry it; there is nothing it could change.
    Fix: remove the flag.
    """
    for name in config.all_given():
        if verdict(PARAMS[name], trainer) == UNUSED:
            yield Finding(
                f"{name} has no effect with {trainer.title} trainer: {trainer.unused[name]}, will be ignored",
                changes={name: None},
                parameters=(name,),
            )


@rule("P108", WARNING, refuses="--trainer sft --lora-r 32", accepts="--trainer sft --peft --lora-r 32")
def a_parameter_of_a_mixin_that_is_off_is_ignored(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A parameter was given that only counts together with a switch, and the switch is off.

    Why: `--lora-r` without `--peft` trains the whole model, the costliest way to misread a command.
    Fix: add the switch, or remove the flag.
    """
    for name in switched_off(config, trainer):
        group = GROUP[PARAMS[name].group]
        switch = PARAMS[group.switch or ""].flag
        is_new = str(config.model or "").startswith("scratch:")  # which no adapter goes with
        yield Finding(
            f"{PARAMS[name].flag} has no effect without {switch}, will be ignored",
            changes={name: None} if is_new and group.switch == "peft" else {group.switch or "": True},
            otherwise="" if is_new and group.switch == "peft" else f"or remove {PARAMS[name].flag}",
            parameters=(name,),
        )


def switched_off(config: Config, trainer: Trainer) -> tuple[str, ...]:
    """Names that were given although their group's switch is off."""
    names = []
    for name in config.all_given():
        group = GROUP[PARAMS[name].group]
        if group.switch and name != group.switch and group in trainer.group_specs and not config.value_of(group.switch):
            names.append(name)
    return tuple(names)


@rule(
    "P112", refuses="--trainer ppo --use-distillation", accepts="--trainer sft --use-distillation --teacher-model other"
)
def a_mixin_that_cannot_work_here_is_refused(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A mixin was switched on for a trainer that it can't be combined with.

    Why: a reward model and a policy have no tokens of a dataset's answers on which a teacher could be compared with them.
    Fix: remove the switch.
    """
    for name in config.all_given():
        if verdict(PARAMS[name], trainer) == REFUSED and config.value_of(name):
            yield Finding(
                f"{GROUP[PARAMS[name].group].subject} is not supported with {trainer.title} trainer",
                changes={name: None},
                parameters=(name,),
            )


@rule("P113", refuses="--trainer ppo --engine trl", accepts="--trainer grpo --engine trl")
def what_cannot_be_carried_out_yet_is_refused(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A trainer, mixin or engine was chosen that this version can check and not yet carry out.

    Why: its parameters are known, so that commands can be written and checked; its training is not there yet.
    Fix: use what is there, or a later version.
    """
    if trainer.recipe is None:
        there = ", ".join(name for name, other in _trainable().items() if other)
        yield Finding(
            f"--trainer {trainer.name} can be checked but not trained by this version, which trains {there}",
            parameters=("trainer",),
        )
    for group in trainer.group_specs:
        if group.switch and not group.available and config.value_of(group.switch):
            yield Finding(
                f"{group.subject} ({PARAMS[group.switch].flag}) can be checked but not carried out by this version",
                changes={group.switch: None},
                parameters=(group.switch,),
            )
    if config.engine == "trl" and trainer.recipe is not None and trainer.trl_adapter is None:
        yield Finding(
            f"--engine trl has no trainer that stands for {trainer.name} in this version",
            changes={"engine": None},
            parameters=("engine",),
        )


def _trainable() -> dict[str, bool]:
    from autotrain_llm.config.registry import TRAINERS

    return {name: trainer.recipe is not None for name, trainer in TRAINERS.items()}
