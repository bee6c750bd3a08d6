"""Which parameters a trainer reads, and which mixins and engines it can be combined with."""

from __future__ import annotations

from collections.abc import Iterator

from autotrain_llm.config.registry import (
    FOREIGN,
    GROUP,
    PARAMS,
    REFUSED,
    TRAINERS,
    UNUSED,
    trainers_that_read,
    verdict,
)
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer


@rule("P101", WARNING, refuses="--trainer sft --dpo-beta 0.1", accepts="--trainer dpo --dpo-beta 0.1")
def a_parameter_of_another_trainer_is_ignored(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A parameter that this trainer does not read.

    Why: a flag without effect hides a misunderstanding. It is reported even where the value equals the default; the value is dropped, and the
    run is the same as without it.
    Fix: remove the flag, use the one that means the same for this trainer, or choose a trainer that reads it.
    """
    for name in config.all_given():
        if verdict(PARAMS[name], trainer) == FOREIGN:
            other = next((field for field in PARAMS[name].counterparts if trainer.reads(field)), None)
            message = f"{name} only applies to {_trainer_names(name)}, will be ignored"
            if other in PARAMS[name].same_elsewhere and not config.given(other):
                yield Finding(message, changes={name: None, other: config.value_of(name)}, parameters=(name,))
                continue
            yield Finding(
                message,
                changes={name: None},
                otherwise=f"which {trainer.name} does not read"
                + (f"; {flag_of(other)} is what it reads instead" if other else ""),
                parameters=(name,),
            )


def _trainer_names(name: str) -> str:
    titles = [trainer.title for trainer in trainers_that_read(name)]
    if len(titles) == 1:
        return f"{titles[0]} trainer"
    return f"{', '.join(titles[:-1])} and {titles[-1]} trainers"


@rule(
    "P131",
    WARNING,
    refuses="--preset preference-after-sft --trainer sft",
    accepts="--preset preference-after-sft --trainer kto",
)
def a_preset_is_made_for_some_trainers(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A preset is used with a trainer that it is not made for.

    Why: its values are chosen for other trainers, and those that this trainer does not read are left out.
    Fix: another preset (`autotrain presets` lists them), or one of its trainers.
    """
    if config.preset not in PARAMS["preset"].choices:
        return
    from autotrain_llm.config.presets import read_preset

    preset = read_preset(config.preset)
    if preset.trainers and trainer.name not in preset.trainers:
        unread = ", ".join(map(flag_of, preset.unread(trainer)))
        left_out = f", and {trainer.name} does not read its {unread}" if unread else ""
        yield Finding(
            f"--preset {preset.name} is made for {', '.join(preset.trainers)}, and not for {trainer.name}{left_out}",
            fix="autotrain presets   lists the others",
            parameters=("preset", "trainer"),
        )


@rule("P107", WARNING, refuses="--trainer orpo --model-ref other", accepts="--trainer dpo --model-ref other")
def a_parameter_without_effect_is_ignored(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A parameter that this trainer accepts and does not use.

    Why: older guides list it for this trainer, so commands still have it. It has no effect.
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
    """A parameter that only has an effect together with a switch, and the switch is off.

    Why: `--lora-r` without `--peft` trains the whole model, an expensive misunderstanding.
    Fix: add the switch, or remove the flag.
    """
    for name in switched_off(config, trainer):
        switch = GROUP[PARAMS[name].group].switch or ""
        without = f"{flag_of(name)} has no effect without {flag_of(switch)}"
        if switch == "peft" and str(config.model or "").startswith("scratch:"):
            message = f"{without}, and a new model is trained as a whole; will be ignored"
            yield Finding(message, changes={name: None}, parameters=(name,))
        else:  # only the user knows whether the flag or the switch was meant
            otherwise = f"or remove {flag_of(name)}"
            yield Finding(f"{without}, will be ignored", guess={switch: True}, otherwise=otherwise, parameters=(name,))


def switched_off(config: Config, trainer: Trainer) -> tuple[str, ...]:
    """Parameters that were given although their group's switch is off."""
    names = []
    for name in config.all_given():
        group = GROUP[PARAMS[name].group]
        if group.switch and name != group.switch and group in trainer.group_specs and not config.value_of(group.switch):
            names.append(name)
    return tuple(names)


@rule(
    "P112", refuses="--trainer ppo --use-distillation", accepts="--trainer sft --use-distillation --teacher-model other"
)
def a_mixin_that_can_not_work_here_is_refused(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A mixin that this trainer can't be combined with.

    Why: distillation compares how teacher and student predict the tokens of the answers in the data. A reward model predicts no tokens, and the data
    of policy training has prompts only. Pairs, prompts and graded rows are not streamed: their trainers need all of them, for a reference model, rollouts or tracked values.
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
def what_this_version_can_not_train_is_refused(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """A trainer, mixin or engine that this version can check but not train with.

    Why: its parameters are known, so that commands can be written and checked; its training is not implemented.
    Fix: use one that is, or a later version.
    """
    if trainer.recipe is None:
        implemented = ", ".join(name for name, other in TRAINERS.items() if other.recipe is not None)
        yield Finding(
            f"--trainer {trainer.name} can be checked but not trained by this version, which trains {implemented}",
            parameters=("trainer",),
        )
    for group in trainer.group_specs:
        if group.switch and not group.available and config.value_of(group.switch):
            yield Finding(
                f"{group.subject} ({flag_of(group.switch)}) can be checked but not trained with by this version",
                changes={group.switch: None},
                parameters=(group.switch,),
            )
    if config.engine == "trl" and trainer.recipe is not None and trainer.trl_adapter is None:
        yield Finding(
            f"--engine trl has no trainer for {trainer.name} in this version",
            changes={"engine": None},
            parameters=("engine",),
        )
