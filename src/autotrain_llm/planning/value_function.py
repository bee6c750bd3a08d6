"""Decide the value function of ppo, and whether a reward model can serve as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import ERROR
from autotrain_llm.models.architectures import keeps_rows_apart
from autotrain_llm.models.checks.target_modules import target_modules_exist
from autotrain_llm.planning.rollouts import longest_sequence, reward_models
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SHARED, Ppo

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata


def value_kind(config: Config, context: RunContext) -> str | None:
    """`--rl-value-model`; if not given, the corrected reward model if it can serve as a value function and needs no padding, else a shared
    head. None for trainers without a value function."""
    if not config.applies("rl_value_model"):
        return None
    if config[Ppo].rl_value_model is not None:
        return config[Ppo].rl_value_model
    values = _reward_model(config, context)
    if values is None or values.config is None or not values.is_classifier or not keeps_rows_apart(values.config)[0]:
        return SHARED
    return SHARED if unfit(values, config, context) else CORRECTED


def value_model_of(config: Config, context: RunContext) -> ModelMetadata | None:
    """The reward model that initialises the values; None if they start at zero, or the reward model is not known."""
    return _reward_model(config, context) if value_kind(config, context) in (OF_REWARD, CORRECTED) else None


def _reward_model(config: Config, context: RunContext) -> ModelMetadata | None:
    """The reward model; None if there is none or more than one."""
    sources = reward_models(config)
    return context.models.secondary("rl_reward_model_path", sources[0]) if len(sources) == 1 else None


def unfit(values: ModelMetadata, config: Config, context: RunContext) -> str | None:
    """Why this reward model can't estimate the return of a partial answer, as a predicate of the model; None if it can."""
    if values.is_encoder or values.is_encoder_decoder:
        return f"({values.model_type}) attends in both directions, and a value may not depend on later tokens"
    if len(values.score_names) > 1:
        return f"has {len(values.score_names)} outputs, and a value is one number"
    if values.score_heads and all("classifier" in name for name in values.score_heads):
        return f"({values.model_type}) has no score head on its last layer that can be evaluated at every token"
    different = context.models.differing_token(values)
    if different is not None:
        return f"has a vocabulary that differs from the policy's: {different}"
    policy_rows, rows = context.model.embedding_rows if context.model else None, values.embedding_rows
    if policy_rows and rows and rows < policy_rows:
        return f"has {rows} tokens, and the policy may sample any of {policy_rows}"
    longest = longest_sequence(config, context)
    if longest is not None and values.context_length is not None and longest > values.context_length:
        return f"has a context of {values.context_length} tokens, and a prompt with its answer has up to {longest}"
    if config.peft and config[Ppo].rl_value_model == OF_REWARD:
        for finding in target_modules_exist(values, config.target_modules):
            if finding.severity == ERROR:
                return f"can't be given the policy's adapter: {finding.message}"
    return None
