"""Decide how many answers are sampled at a time, and in how many steps they are learnt from."""

from __future__ import annotations

import math
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.reference_model import reference_kind
from autotrain_llm.planning.value_function import value_kind
from autotrain_llm.trainers.grpo import Grpo

EACH_PHASE = "once for each phase"


def decide_phases(config: Config, prompts: int, processes: int) -> dict[str, Any]:
    """The sizes of a run's phases for this many training prompts.

    `prompts_of_phase` of them with `answers_each` make a phase; each of `passes` over it takes a step for every `answers_of_step`, in
    `batches` of at most `batch_size` on each process. Where the prompts of a pass don't fill its last phase, that one is smaller.
    """
    each = config[Grpo].rl_num_generations if config.applies("rl_num_generations") else 1
    of_phase = max(1, min(config.rl_chunk_size // each, prompts))
    step = answers_of_step(config, processes)
    parts = [min(of_phase, prompts - start) for start in range(0, prompts, of_phase)]
    passes = config.rl_num_ppo_epochs
    return {
        "prompts": prompts,
        "prompts_of_phase": of_phase,
        "answers_each": each,
        "phases_of_epoch": len(parts),
        "passes": passes,
        "answers_of_step": step,
        "batch_size": min(config.batch_size, math.ceil(step / processes)),
        "batches": math.ceil(step / (config.batch_size * processes)),
        "steps_of_epoch": sum(passes * steps_of_pass(part * each, step) for part in parts),
    }


def answers_of_step(config: Config, processes: int) -> int:
    """`--rl-mini-batch-size`, unless accumulation alone was said."""
    accumulated = config.batch_size * config.gradient_accumulation * processes
    given = config.given("gradient_accumulation") and not config.given("rl_mini_batch_size")
    return accumulated if given else config.rl_mini_batch_size


def steps_of_pass(answers: int, of_step: int) -> int:
    """Optimizer steps of one pass over these answers, which are shared out among them evenly."""
    return math.ceil(answers / of_step)


def decide_learning(config: Config, context: RunContext, phases: dict[str, Any]) -> dict[str, Any]:
    """The part of the plan's `rollouts` that is about learning: the phases, and how scores become advantages."""
    names = ["rl_kl_coef", "rl_target_kl", "rl_stop_kl"]
    names += [
        name for name in ("rl_gamma", "rl_gae_lambda", "rl_num_generations", "rl_advantage") if config.applies(name)
    ]
    values = value_kind(config, context)
    decided = {} if values is None else {"rl_value_model": values}
    return {**phases, **{name: getattr(config, name) for name in names}, **decided}


def decide_anchor(config: Config, context: RunContext) -> dict[str, Any] | None:
    """What a policy is held to, the model as it was; None where nothing holds it."""
    if config.rl_kl_coef == 0 and config.rl_target_kl is None:
        return None
    return {
        "kind": reference_kind(config, context),
        "model": None,
        "when": EACH_PHASE,
        "why": "answers are new in each phase",
    }
