"""Put together what a plan of ppo or grpo needs beside the loop: who writes, who scores, what the policy is held to, where phases come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.algorithms.rl.prompts import Prompts
from autotrain_llm.run.algorithms.rl.rewards import load_rewards
from autotrain_llm.run.algorithms.rl.rollout_buffer import RolloutSchedule
from autotrain_llm.run.algorithms.rl.rollouts import HeldOutRewards, RolloutSource, RolloutWorker, SampleLog
from autotrain_llm.run.algorithms.rl.value_models import add_decided_value_head, make_prefix_baseline
from autotrain_llm.run.artifacts.saving import end_tokens
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.loop import Observer
from autotrain_llm.run.engine.reference_model import load_reference_model
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sampling


@dataclass(frozen=True)
class Started:
    """The loop's source of batches, and what measures the prompts that were held out."""

    rollouts: RolloutSource
    observers: tuple[Observer, ...]


def start_rollouts(
    plan: Plan,
    context: RunContext,
    loaded: Loaded,
    layout: BatchLayout,
    prompts: Prompts,
    held_out: Prompts | None,
    folder: Path | None,
    checkpoint: Path | None,
    step: int | None,
) -> Started:
    """Called before the first step; `folder` is where samples are shown, None in processes that don't lead. A value head joins the model."""
    assert plan.rollouts is not None and context.prepared is not None
    decided = plan.rollouts
    ends = end_tokens(loaded.model, loaded.tokenizer, context.prepared.end_of_turn)
    sampler = Sampler(layout, loaded.tokenizer, ends, sampling_of(plan), DTYPES[plan.precision.name])
    reference = load_reference_model(plan, context, loaded, layout) if plan.objective.reference else None
    add_decided_value_head(plan, context, loaded.model)

    rewards = load_rewards(plan, context, loaded)
    worker = RolloutWorker(
        prompts.rows, layout, sampler, rewards, reference, make_prefix_baseline(plan, rewards, layout)
    )
    sample_log = SampleLog(folder, step) if folder is not None else None
    rollouts = RolloutSource(worker, RolloutSchedule.of(decided.schedule, plan.seed), decided, sample_log)
    if checkpoint is not None:
        rollouts.restore(loaded.model, checkpoint)
    if held_out is None:
        return Started(rollouts, ())
    held_out_worker = RolloutWorker(held_out.rows, layout, sampler, rewards.on(context, "valid"), reference)
    return Started(rollouts, (HeldOutRewards(held_out_worker, plan.seed),))


def sampling_of(plan: Plan) -> Sampling:
    """How the plan says that answers are drawn."""
    assert plan.rollouts is not None
    return Sampling(**vars(plan.rollouts.sampling))
