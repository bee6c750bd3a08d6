"""What a reward model needs that is to estimate values too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SEPARATE, SHARED, Ppo

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

INSTEAD = {OF_REWARD: SEPARATE, CORRECTED: SHARED}  # that begins as nought, and trains as much
ASKED = "--trainer ppo --rl-value-model reward"


@rule(
    "P735",
    refuses=f"{ASKED} --rl-reward-fn statistics:mean",
    accepts=f"{ASKED} --rl-reward-model-path runs/reward --rl-reward-fn statistics:mean",
)
def values_begin_as_one_reward_model(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-value-model reward`, or `corrected`, without a reward model, or with several.

    Why: values then begin as what the model of `--rl-reward-model-path` says of an answer as far as it is written. A function
    is asked about whole answers, and of several models no one is the rest's sum.
    Fix: a head on the policy's own layers, or a model of their own.
    """
    kind = config[Ppo].rl_value_model if trainer.reads("rl_value_model") else None
    if kind not in (OF_REWARD, CORRECTED):
        return
    models = config.rl_reward_model_path or ()
    if not models:
        yield Finding(
            f"--rl-value-model {kind} needs a reward model to begin with, and no --rl-reward-model-path is given",
            changes={"rl_value_model": SHARED},
            otherwise="or --rl-reward-model-path ./reward_model",
            parameters=("rl_value_model",),
        )
    elif len(models) > 1:
        yield Finding(
            f"--rl-value-model {kind} begins with one reward model, and there are {len(models)}: {', '.join(models)}",
            changes={"rl_value_model": INSTEAD[kind]},
            parameters=("rl_value_model", "rl_reward_model_path"),
        )


@rule("M187")
def values_come_from_a_model_that_reads_what_the_policy_writes(
    config: Config, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--rl-value-model reward`, or `corrected`, with a reward model that can't read the policy's tokens one after another.

    Why: a value is what is expected before each token of an answer, from the tokens so far. An encoder reads an answer from both sides, so
    that it would know what is still to come; with another vocabulary the same ids are other words; beyond its context a model has no
    positions. With `--peft` what learns of it is an adapter on the modules that `--target-modules` names, as the policy's.
    Fix: values that begin as nought (`--rl-value-model shared` or `separate`), or a reward model that was trained from the policy's own base.
    """
    from autotrain_llm.planning.value_function import unfit, value_model_of

    values = value_model_of(config, context)
    if not config.given("rl_value_model") or values is None or values.config is None or not values.is_classifier:
        return  # of what is no reward model other rules speak
    fault = unfit(values, config, context)
    if fault is not None:
        yield Finding(
            f"--rl-value-model {config[Ppo].rl_value_model}: {values.name} {fault}",
            changes={"rl_value_model": INSTEAD[str(config[Ppo].rl_value_model)]},
            otherwise="or a reward model that was trained from the policy's base",
            parameters=("rl_value_model", "rl_reward_model_path"),
        )
