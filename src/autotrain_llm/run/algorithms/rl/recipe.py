"""The recipes of ppo, grpo and spo: the policy samples answers, which are scored and trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from autotrain_llm.planning.plan import Plan, RolloutPlan
from autotrain_llm.run.algorithms.recipe import Recipe, Started
from autotrain_llm.run.algorithms.rl import objectives
from autotrain_llm.run.algorithms.rl.estimators import (
    AdvantageEstimator,
    GeneralisedAdvantages,
    GroupAdvantages,
    SingleStreamAdvantages,
)
from autotrain_llm.run.algorithms.rl.layouts import FlatPolicy, PaddedPolicy
from autotrain_llm.run.algorithms.rl.prompts import Prompts
from autotrain_llm.run.algorithms.rl.rewards import Rewards, load_rewards
from autotrain_llm.run.algorithms.rl.rollout_buffer import RolloutSchedule
from autotrain_llm.run.algorithms.rl.rollouts import SAMPLES, HeldOutRewards, RolloutSource, RolloutWorker, SampleLog
from autotrain_llm.run.algorithms.rl.value_head import (
    FILE,
    load_value_head,
    save_value_head,
    value_head_of,
    without_value_head,
)
from autotrain_llm.run.algorithms.rl.value_models import (
    PrefixRewardBaseline,
    add_decided_value_head,
    make_prefix_baseline,
)
from autotrain_llm.run.algorithms.rl.value_tracker import Forgetting
from autotrain_llm.run.artifacts.saving import end_tokens
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.loop import BatchSource, Observer
from autotrain_llm.run.engine.objective import Objective
from autotrain_llm.run.engine.reference_model import load_reference_model
from autotrain_llm.run.generation.sampler import Sampler
from autotrain_llm.run.generation.types import Sampling


class PolicyRecipe(Recipe):
    """The common parts of ppo, grpo and spo."""

    @property
    def rollouts(self) -> RolloutPlan:
        assert self.plan.rollouts is not None
        return self.plan.rollouts

    @property
    def is_penalised(self) -> bool:
        """Whether the divergence from the reference model is part of the loss or the reward; else it is only measured in evaluations."""
        return self.rollouts.rl_kl_coef != 0 or self.rollouts.rl_kl_target is not None

    def make_estimator(self) -> AdvantageEstimator:
        """How scores become advantages."""
        raise NotImplementedError

    def make_layout(self, loaded: Loaded) -> BatchLayout:
        if self.plan.engine != "native":
            return super().make_layout(loaded)
        temperature = self.rollouts.sampling.temperature
        if self.is_padded:
            return PaddedPolicy(loaded.model, int(loaded.tokenizer.pad_token_id), temperature)
        return FlatPolicy(loaded.model, temperature, self.plan.model.attention)

    def make_objective(self) -> Objective:
        return objectives.grpo(self.plan.objective.settings)

    def make_dataset(self, rows: Any) -> Any:
        return Prompts(rows)

    def prepare(self, loaded: Loaded) -> None:
        without_dropout(loaded.model, of_adapters=not (self.plan.adapter and self.plan.adapter.dropout))

    def add_values(self, model: nn.Module) -> None:
        """Add a value head to the policy, if the algorithm has one."""

    def prefix_baseline(self, rewards: Rewards, layout: BatchLayout) -> PrefixRewardBaseline | None:
        """The frozen reward model whose prefix scores the values start from; None without one."""
        return None

    def make_source(self, started: Started) -> tuple[BatchSource | None, list[Observer]]:
        plan, loaded, layout = self.plan, started.loaded, started.layout
        ends = end_tokens(loaded.model, loaded.tokenizer, self.inputs.prepared.end_of_turn)
        sampler = Sampler(layout, loaded.tokenizer, ends, sampling_of(plan), DTYPES[plan.precision.name])
        # Loaded before the value head is added: the reference may be a copy of the policy, and must not copy the head.
        reference = load_reference_model(plan, self.inputs, loaded, layout) if plan.objective.reference else None
        self.add_values(loaded.model)
        rewards = load_rewards(plan, self.inputs, loaded)
        baseline = self.prefix_baseline(rewards, layout)
        penalty = reference if self.is_penalised else None
        worker = RolloutWorker(started.train.rows, layout, sampler, rewards, penalty, baseline)
        samples = SampleLog(started.folder, started.step) if started.folder is not None else None
        prepared = self.inputs.prepared
        schedule = RolloutSchedule.of(self.rollouts.schedule, plan.seed, prepared)
        source = RolloutSource(worker, schedule, self.make_estimator(), self.rollouts, samples)
        if started.checkpoint is not None:
            source.restore(loaded.model, started.checkpoint)
        if started.valid is None:
            return source, []
        held_out = RolloutWorker(started.valid.rows, layout, sampler, rewards.on(self.inputs, "valid"), reference)
        sizes = [len(part) for part in prepared.valid.parts]
        sources = prepared.mixture.evaluated(sizes) if prepared.mixture else {}
        compared = plan.evaluation is not None and bool(plan.evaluation.scores or plan.evaluation.predictions)
        return source, [HeldOutRewards(held_out, plan.seed, sources, shares_answers=compared)]

    def files(self) -> tuple[str, ...]:
        return (SAMPLES, FILE)


class Grpo(PolicyRecipe):
    """Group-relative policy optimisation."""

    def make_estimator(self) -> AdvantageEstimator:
        assert self.rollouts.rl_advantage is not None
        return GroupAdvantages(self.rollouts.rl_advantage)


class Spo(PolicyRecipe):
    """Single-stream policy optimisation: the loss of grpo, one answer to each prompt, advantages against tracked values."""

    def make_estimator(self) -> AdvantageEstimator:
        settings = self.plan.objective.settings
        forgetting = Forgetting(settings["spo_half_life"], settings["spo_rho_min"], settings["spo_rho_max"])
        return SingleStreamAdvantages(
            forgetting, settings["spo_first_answers"], settings["spo_exploration"], self.plan.seed
        )


class Ppo(PolicyRecipe):
    """Proximal policy optimisation with a value head, which is trained with the policy and saved in a file of its own."""

    def make_objective(self) -> Objective:
        return objectives.ppo(self.plan.objective.settings)

    def make_estimator(self) -> AdvantageEstimator:
        assert self.rollouts.rl_gamma is not None and self.rollouts.rl_gae_lambda is not None
        return GeneralisedAdvantages(self.rollouts.rl_gamma, self.rollouts.rl_gae_lambda)

    def add_values(self, model: nn.Module) -> None:
        add_decided_value_head(self.plan, self.inputs, model)

    def prefix_baseline(self, rewards: Rewards, layout: BatchLayout) -> PrefixRewardBaseline | None:
        return make_prefix_baseline(self.plan, rewards, layout)

    def restore(self, model: nn.Module, checkpoint: Path) -> None:
        if value_head_of(model) is None:
            self.add_values(model)
        load_value_head(model, checkpoint)

    @contextmanager
    def saving(self, model: nn.Module, folder: Path) -> Iterator[None]:
        save_value_head(model, folder)
        with without_value_head(model):
            yield


def sampling_of(plan: Plan) -> Sampling:
    """The plan's sampling settings."""
    assert plan.rollouts is not None
    return Sampling(**vars(plan.rollouts.sampling))
