"""What a reward model needs that is to estimate values too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config import Config
from autotrain_llm.declare.finding import ERROR, Finding, Refused
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SEPARATE, SHARED

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.facts.world import World
    from autotrain_llm.models.metadata import ModelFacts

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
    kind = config.peek("rl_value_model") if trainer.reads("rl_value_model") else None
    if kind not in (OF_REWARD, CORRECTED):
        return
    models = config.peek("rl_reward_model_path") or ()
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
    config: Config, trainer: Trainer, model: ModelFacts, world: World
) -> Iterator[Finding]:
    """`--rl-value-model reward`, or `corrected`, with a reward model that can't read the policy's tokens one after another.

    Why: a value is what is expected before each token of an answer, from the tokens so far. An encoder reads an answer from both sides, so
    that it would know what is still to come; with another vocabulary the same ids are other words; beyond its context a model has no
    positions. With `--peft` what learns of it is an adapter on the modules that `--target-modules` names, as the policy's.
    Fix: values that begin as nought (`--rl-value-model shared` or `separate`), or a reward model that was trained from the policy's own base.
    """
    from autotrain_llm.decisions.rollouts import value_model_of

    values = value_model_of(config, world)
    if values is None or values.config is None or not values.is_classifier:
        return  # of what is no reward model other rules speak
    fault = _fault(values, config, world)
    if fault is not None:
        yield Finding(
            f"--rl-value-model {config.rl_value_model}: {values.name} {fault}",
            changes={"rl_value_model": INSTEAD[config.rl_value_model]},
            otherwise="or a reward model that was trained from the policy's base",
            parameters=("rl_value_model", "rl_reward_model_path"),
        )


def _fault(values: ModelFacts, config: Config, world: World) -> str | None:
    """Why this reward model can't estimate values, said of it; None where it can."""
    from autotrain_llm.decisions.rollouts import longest_sequence
    from autotrain_llm.models.faults import unmatched_targets

    if values.is_encoder or values.is_encoder_decoder:
        return f"({values.model_type}) reads an answer from both sides, and a value may depend on no token that comes later"
    if values.score_heads and all("classifier" in name for name in values.score_heads):
        return f"({values.model_type}) has no score head on its last layer that could be read at every token"
    different = _different_token(values, world)
    if different is not None:
        return f"has another vocabulary than the policy: {different}"
    own, theirs = world.model.embedding_rows if world.model else None, values.embedding_rows
    if own and theirs and theirs < own:
        return f"has {theirs} tokens, and the policy may write any of {own}"
    longest = longest_sequence(config, world)
    if longest is not None and values.context_length is not None and longest > values.context_length:
        return f"reads {values.context_length} tokens, and a prompt with its answer has up to {longest}"
    if config.peft and config.rl_value_model == OF_REWARD:
        for finding in unmatched_targets(values, config.target_modules):
            if finding.severity == ERROR:
                return f"can't be given the policy's adapter: {finding.message}"
    return None


def _different_token(values: ModelFacts, world: World) -> str | None:
    from autotrain_llm.data.tokenizer import Tokenizer

    if world.tokenizer is None or values.tokenizer_folder is None:
        return None
    try:
        return world.tokenizer.differing_token(Tokenizer.load(values.tokenizer_folder))
    except Refused:  # of a tokenizer that can't be read another rule speaks
        return None
