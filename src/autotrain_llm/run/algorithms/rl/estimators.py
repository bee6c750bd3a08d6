"""How the scores of a rollout become advantages: by group (grpo), against a value function (ppo), against tracked values (spo)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotrain_llm.data.order import counts_of
from autotrain_llm.run.algorithms.rl.advantages import (
    GROUP_ADVANTAGES,
    discounted,
    explained_variance,
    fit_slope,
    generalised_advantages,
    group_deviations,
    token_rewards,
    whiten,
)
from autotrain_llm.run.algorithms.rl.rollout_buffer import Answers, RolloutBatch, RolloutSchedule
from autotrain_llm.run.algorithms.rl.value_tracker import (
    Forgetting,
    LastAnswers,
    ValueTracker,
    load_tracker,
    save_tracker,
    single_stream_advantages,
)

if TYPE_CHECKING:
    from autotrain_llm.run.algorithms.rl.rollouts import RolloutWorker
    from autotrain_llm.run.engine.loop import Loop

FIRST_ANSWERS = 2  # part of the seeds of the first answers; training and evaluation have 0 and 1
# Smoothing rate of the reward model's weight over rollouts. Slow, because the value head must follow each change.
WEIGHT_RATE = 0.3


class AdvantageEstimator:
    """Fills in the advantages of a rollout. Every process has all answers of the rollout and makes the same calls."""

    def begin(self, worker: RolloutWorker, schedule: RolloutSchedule, loop: Loop) -> None:
        """Called before each rollout is sampled."""

    def prompts(self, schedule: RolloutSchedule, index: int) -> np.ndarray:
        """The rows of the prompts of rollout `index`: each once in an epoch, in a seeded order."""
        return schedule.rows_of(index)

    def estimate(self, rollout: RolloutBatch, previous: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        """Set `rollout.advantages` (tokens,), and `returns` if a value head is trained."""
        raise NotImplementedError

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        """Metrics by name, as arrays whose mean is logged."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the state that later estimates need into a checkpoint."""

    def restore(self, folder: Path) -> None:
        """Read the state that `save` wrote."""


class GroupAdvantages(AdvantageEstimator):
    """Each answer compared with the other answers to its prompt, as `--rl-advantage` says."""

    def __init__(self, kind: str) -> None:
        self.group_advantages = GROUP_ADVANTAGES[kind]

    def estimate(self, rollout: RolloutBatch, previous: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        rollout.advantages = np.repeat(self.group_advantages(rollout.rewards, rollout.each), rollout.lengths)

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        spread = group_deviations(rollout.rewards, rollout.each)
        return {"reward_std": spread, "frac_reward_zero_std": (spread == 0).astype(float)}


class GeneralisedAdvantages(AdvantageEstimator):
    """Generalised advantage estimation against a value head; the KL penalty is part of the tokens' rewards.

    With a baseline, the reward model's prefix scores, values are head + w · baseline. w in [0, 1] is the least-squares slope of
    (returns - head) on the baseline, smoothed over rollouts.
    """

    def __init__(self, gamma: float, gae_lambda: float) -> None:
        self.gamma, self.gae_lambda = gamma, gae_lambda

    def estimate(self, rollout: RolloutBatch, previous: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        assert rollout.values is not None
        log_ratio = np.zeros(len(rollout.ids)) if rollout.reference is None else rollout.logprobs - rollout.reference
        rewards = token_rewards(rollout.rewards, log_ratio, rollout.lengths, rollout.kl_coef)
        if rollout.baseline is not None:
            residual = discounted(rewards, rollout.lengths, self.gamma) - rollout.values
            slope = fit_slope(rollout.baseline, residual)
            before = None if previous is None else previous.reward_value_weight
            rollout.reward_value_weight = slope if before is None else before + WEIGHT_RATE * (slope - before)
            rollout.baseline = rollout.reward_value_weight * rollout.baseline
            rollout.values = rollout.values + rollout.baseline
        advantages, rollout.returns = generalised_advantages(
            rewards, rollout.values, rollout.lengths, self.gamma, self.gae_lambda
        )
        rollout.advantages = whiten(advantages)

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        assert rollout.values is not None and rollout.returns is not None
        metrics = {
            "explained_variance": np.asarray([explained_variance(rollout.values, rollout.returns)]),
            "reward_std": np.asarray([rollout.rewards.std()]),
        }
        if rollout.reward_value_weight is not None:
            metrics["reward_value_weight"] = np.asarray([rollout.reward_value_weight])
        return metrics


class SingleStreamAdvantages(AdvantageEstimator):
    """Each answer compared with the tracked value of its prompt; prompts with uncertain rewards are sampled more often (arXiv:2509.13232).

    The divergence that sets the forgetting rate is computed as in the authors' code: the mean absolute log-ratio, per token of the prompt's
    last answer, of the current policy and the policy that sampled it; 0 for a prompt without an answer.
    """

    def __init__(self, forgetting: Forgetting, first_answers: int, exploration: float, seed: int) -> None:
        self.forgetting, self.first_answers = forgetting, first_answers
        self.exploration, self.seed = exploration, seed
        self.tracker: ValueTracker | None = None
        self.last = LastAnswers()

    def begin(self, worker: RolloutWorker, schedule: RolloutSchedule, loop: Loop) -> None:
        """Before the first rollout, sample and score `first_answers` answers to every prompt, at most a rollout's number at a time."""
        if self.tracker is not None:
            return
        count, each = len(worker.prompts), self.first_answers
        chunks = -(-count * each // (schedule.prompts_of_phase * schedule.answers_each))
        rewards = []
        for index, rows in enumerate(np.array_split(np.arange(count), min(chunks, count))):
            seeds = schedule.seeds_of(FIRST_ANSWERS, index, count=len(rows) * each)
            _, scores = worker.sample_answers(loop, rows, seeds, each)
            rewards.append(worker.rewards.total(scores).reshape(-1, each))
        self.tracker = ValueTracker(self.forgetting, np.concatenate(rewards))

    def prompts(self, schedule: RolloutSchedule, index: int) -> np.ndarray:
        assert self.tracker is not None
        rows, mixture = schedule.rows_of(index), schedule.mixture
        if mixture is None:
            return self.tracker.sample_rows(len(rows), self.exploration, self.seed, index)
        # The mixture decides how many prompts of each source there are, and the tracker which of them.
        counts = counts_of(rows, mixture.sizes)
        return self.tracker.sample_of_sources(counts, mixture.sizes, self.exploration, self.seed, index)

    def estimate(self, rollout: RolloutBatch, previous: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        assert self.tracker is not None
        rollout.tracked_values = self.tracker.values[rollout.rows]
        rollout.divergence = self._divergence(rollout.rows, worker, loop)
        advantages = single_stream_advantages(rollout.rewards, rollout.tracked_values)
        rollout.advantages = np.repeat(advantages, rollout.lengths)
        for round_ in _rounds(rollout.rows):
            self.tracker.update(rollout.rows[round_], rollout.rewards[round_], rollout.divergence[round_])
        for index, row in enumerate(rollout.rows.tolist()):
            self.last.put(row, rollout.completion(index), rollout.logprobs[rollout.tokens_of([index])])

    def _divergence(self, rows: np.ndarray, worker: RolloutWorker, loop: Loop) -> np.ndarray:
        """The policy's divergence since each prompt was last answered (prompts,), in nats per token."""
        divergence = np.zeros(len(rows))
        positions = self.last.answered(rows)
        if positions:
            answered = rows[positions].tolist()
            ids, before = [self.last.ids[row] for row in answered], [self.last.logprobs[row] for row in answered]
            lengths = np.asarray([len(answer) for answer in ids])
            ended = np.ones(len(ids), dtype=bool)
            now = worker.logprobs(loop, Answers(rows[positions], np.concatenate(ids), lengths, ended, ~ended))
            differences = np.abs(np.concatenate(before) - now)
            divergence[positions] = np.add.reduceat(differences, np.cumsum(lengths) - lengths) / lengths
        return divergence

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        assert rollout.tracked_values is not None and rollout.divergence is not None
        return {
            "reward_std": np.asarray([rollout.rewards.std()]),
            "tracker/value": rollout.tracked_values,
            "tracker/divergence": rollout.divergence,
            "tracker/retention": self.forgetting.rate(rollout.divergence),
        }

    def save(self, folder: Path) -> None:
        assert self.tracker is not None
        save_tracker(self.tracker, self.last, folder)

    def restore(self, folder: Path) -> None:
        self.tracker, self.last = load_tracker(self.forgetting, folder)


def _rounds(rows: np.ndarray) -> list[np.ndarray]:
    """The positions of each prompt's first answer, then of its second, and so on: a rollout of a mixture can have a prompt more than once."""
    order = np.argsort(rows, kind="stable")
    _, starts, counts = np.unique(rows[order], return_index=True, return_counts=True)
    occurrence = np.empty(len(rows), dtype=np.int64)
    occurrence[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    return [np.flatnonzero(occurrence == index) for index in range(int(counts.max(initial=0)))]
