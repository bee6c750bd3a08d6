"""Decide the rollouts of a policy: how answers are sampled and scored, how many per rollout, and in how many steps they are trained on."""

from __future__ import annotations

import math

from autotrain_llm.config.metric_choice import measures_divergence, penalises_divergence
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.plan import ReferencePlan, RolloutPlan, RolloutSchedulePlan, SamplingPlan, SchedulePlan
from autotrain_llm.planning.reference_model import reference_kind
from autotrain_llm.planning.rollouts import answers_of_step, longest_sequence, rewards_of, sequences_at_once
from autotrain_llm.planning.value_function import value_kind
from autotrain_llm.trainers.grpo import Grpo
from autotrain_llm.trainers.ppo import Ppo

EACH_PHASE = "once for each phase"
IN_EVALUATION = "in each evaluation"


def decide_rollouts(config: Config, context: RunContext, schedule: SchedulePlan) -> RolloutPlan | None:
    """The plan's `rollouts`; None if the trainer samples no answers."""
    if not config.trainer_spec.samples:
        return None
    return RolloutPlan(
        sampling=SamplingPlan(
            max_new_tokens=config.rl_max_new_tokens,
            temperature=config.rl_temperature,
            top_k=config.rl_top_k,
            top_p=config.rl_top_p,
            backend=config.rl_generation,
            batch=sequences_at_once(config, context),
            longest=longest_sequence(config, context),
        ),
        rewards=rewards_of(config, context),
        schedule=decide_phases(config, schedule.rows, schedule.processes),
        rl_kl_coef=config.rl_kl_coef,
        rl_kl_target=config.rl_kl_target,
        rl_target_kl=config.rl_target_kl,
        rl_gamma=config[Ppo].rl_gamma if config.applies("rl_gamma") else None,
        rl_gae_lambda=config[Ppo].rl_gae_lambda if config.applies("rl_gae_lambda") else None,
        rl_num_generations=config[Grpo].rl_num_generations if config.applies("rl_num_generations") else None,
        rl_advantage=config[Grpo].rl_advantage if config.applies("rl_advantage") else None,
        rl_value_model=value_kind(config, context),
    )


def decide_phases(config: Config, prompts: int, processes: int) -> RolloutSchedulePlan:
    """The sizes of a run's rollout phases for this many training prompts."""
    answers_each = config[Grpo].rl_num_generations if config.applies("rl_num_generations") else 1
    of_phase = max(1, min(config.rl_chunk_size // answers_each, prompts))
    answers = of_phase * answers_each
    # Split evenly among the steps. With fewer prompts than a rollout has room for, a step has fewer answers than it could.
    step = math.ceil(answers / steps_of_pass(answers, answers_of_step(config, processes)))
    phases = [min(of_phase, prompts - start) for start in range(0, prompts, of_phase)]
    passes = config.rl_num_ppo_epochs
    return RolloutSchedulePlan(
        prompts=prompts,
        prompts_of_phase=of_phase,
        answers_each=answers_each,
        phases_of_epoch=len(phases),
        passes=passes,
        answers_of_step=step,
        batch_size=min(config.batch_size, math.ceil(step / processes)),
        batches=math.ceil(step / (config.batch_size * processes)),
        steps_of_epoch=sum(passes * steps_of_pass(phase * answers_each, step) for phase in phases),
    )


def steps_of_pass(answers: int, of_step: int) -> int:
    """Optimizer steps of one pass over these answers, which are split evenly among the steps."""
    return math.ceil(answers / of_step)


def decide_anchor(config: Config, context: RunContext) -> ReferencePlan | None:
    """The reference of the KL penalty and of the divergence in evaluations, the policy before training; None if neither is computed."""
    if not measures_divergence(config):
        return None
    if not penalises_divergence(config):
        return ReferencePlan(reference_kind(config, context), None, IN_EVALUATION, "the divergence is a metric")
    return ReferencePlan(reference_kind(config, context), None, EACH_PHASE, "answers are new in each phase")
