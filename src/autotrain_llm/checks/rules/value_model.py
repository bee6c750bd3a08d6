"""The value model of ppo where it starts from a reward model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import of_scorer
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SEPARATE, SHARED, Ppo

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

# The value model of the same size that starts at zero.
INSTEAD = {OF_REWARD: SEPARATE, CORRECTED: SHARED}
PPO_WITH_REWARD_VALUES = "--trainer ppo --rl-value-model reward"


@rule(
    "P735",
    refuses=f"{PPO_WITH_REWARD_VALUES} --rl-reward-fn statistics:mean",
    accepts=f"{PPO_WITH_REWARD_VALUES} --rl-reward-model-path runs/reward --rl-reward-fn statistics:mean",
)
def values_start_from_one_reward_model(config: Config, ppo: Ppo, trainer: Trainer) -> Iterator[Finding]:
    """`--rl-value-model reward`, or `corrected`, without a reward model, or with several.

    Why: the value of a prefix then starts as the score that the model of `--rl-reward-model-path` gives it. A function scores whole
    completions only, and of several models none alone gives the sum of their rewards.
    Fix: a value head on the policy's own layers, or a separate value model.
    """
    kind = ppo.rl_value_model if trainer.reads("rl_value_model") else None
    if kind not in (OF_REWARD, CORRECTED):
        return
    models = config.rl_reward_model_path or ()
    if not models:
        yield Finding(
            f"--rl-value-model {kind} starts from a reward model, and --rl-reward-model-path names none",
            changes={"rl_value_model": SHARED},
            otherwise="or --rl-reward-model-path ./reward_model",
            parameters=("rl_value_model",),
        )
    elif len(models) > 1:
        yield Finding(
            f"--rl-value-model {kind} starts from one reward model, and there are {len(models)}: {', '.join(models)}",
            changes={"rl_value_model": INSTEAD[kind]},
            parameters=("rl_value_model", "rl_reward_model_path"),
        )


@rule("M187", example=of_scorer("sed -i.old 's/im_start/begin/' judge/tokenizer.json", "--rl-value-model reward"))
def a_value_model_reads_the_tokens_of_the_policy(
    config: Config, ppo: Ppo, trainer: Trainer, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--rl-value-model reward`, or `corrected`, with a reward model that can't read the policy's tokens from left to right.

    Why: a value is the expected return before each token of a completion, from the tokens so far. An encoder also sees the tokens that follow;
    with another vocabulary the same ids are other tokens; beyond its context a model has no positions. With `--peft` an adapter on the modules of
    `--target-modules` is trained, as for the policy.
    Fix: values that start at zero (`--rl-value-model shared` or `separate`), or a reward model that was trained from the policy's own base.
    """
    from autotrain_llm.planning.value_function import unfit, value_model_of

    values = value_model_of(config, context)
    if not config.given("rl_value_model") or values is None or values.config is None or not values.is_classifier:
        return  # other rules report what is not a reward model
    fault = unfit(values, config, context)
    if fault is not None:
        kind = str(ppo.rl_value_model)
        yield Finding(
            f"--rl-value-model {kind}: {values.name} {fault}",
            changes={"rl_value_model": INSTEAD[kind]},
            otherwise="or a reward model that was trained from the policy's base",
            parameters=("rl_value_model", "rl_reward_model_path"),
        )
