"""How the scores of a rollout become advantages: by group (grpo), against a value function (ppo), against tracked values (spo)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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

FIRST_ANSWERS = 2  # a side of the data, in seeds, beside training and evaluation
WEIGHT_RATE = (
    0.3  # of the smoothing of the reward model's weight over rollouts: the value head has to keep pace with it
)


class AdvantageEstimator:
    """Fills in the advantages of a rollout. All processes hold the whole rollout and call it alike."""

    def begin(self, worker: RolloutWorker, schedule: RolloutSchedule, loop: Loop) -> None:
        """Called before each rollout is sampled."""

    def prompts(self, schedule: RolloutSchedule, number: int) -> np.ndarray:
        """The rows of the prompts to answer: each once in an epoch, in a seeded order."""
        return schedule.rows_of(number)

    def estimate(self, rollout: RolloutBatch, earlier: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        """Set `rollout.advantages` (tokens,), and `returns` where there are values to train."""
        raise NotImplementedError

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        """Metrics of the estimate by name, as arrays whose mean is logged."""
        return {}

    def save(self, folder: Path) -> None:
        """Add to a checkpoint what later estimates need."""

    def restore(self, folder: Path) -> None:
        """Read what `save` wrote."""


class GroupAdvantages(AdvantageEstimator):
    """Each answer against the other answers to its prompt, by `--rl-advantage`."""

    def __init__(self, kind: str) -> None:
        self.of_groups = GROUP_ADVANTAGES[kind]

    def estimate(self, rollout: RolloutBatch, earlier: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        rollout.advantages = np.repeat(self.of_groups(rollout.rewards, rollout.each), rollout.lengths)

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        spread = group_deviations(rollout.rewards, rollout.each)
        return {"reward_std": spread, "frac_reward_zero_std": (spread == 0).astype(float)}


class GeneralisedAdvantages(AdvantageEstimator):
    """Each token against the value before it, by generalised advantage estimation; the KL penalty is part of the tokens' rewards.

    Where values start from a reward model's prefix scores, those are weighted by w in [0, 1], the least-squares slope of what the value
    head leaves of the returns on the scores, smoothed over rollouts.
    """

    def __init__(self, gamma: float, gae_lambda: float) -> None:
        self.gamma, self.gae_lambda = gamma, gae_lambda

    def estimate(self, rollout: RolloutBatch, earlier: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        assert rollout.values is not None
        log_ratio = np.zeros(len(rollout.ids)) if rollout.reference is None else rollout.logprobs - rollout.reference
        rewards = token_rewards(rollout.rewards, log_ratio, rollout.lengths, rollout.kl_coef)
        if rollout.baseline is not None:
            left = discounted(rewards, rollout.lengths, self.gamma) - rollout.values
            slope = fit_slope(rollout.baseline, left)
            before = None if earlier is None else earlier.reward_value_weight
            rollout.reward_value_weight = slope if before is None else before + WEIGHT_RATE * (slope - before)
            rollout.baseline = rollout.reward_value_weight * rollout.baseline
            rollout.values = rollout.values + rollout.baseline
        advantages, rollout.returns = generalised_advantages(
            rewards, rollout.values, rollout.lengths, self.gamma, self.gae_lambda
        )
        rollout.advantages = whiten(advantages)

    def metrics(self, rollout: RolloutBatch) -> dict[str, np.ndarray]:
        assert rollout.values is not None and rollout.returns is not None
        found = {
            "explained_variance": np.asarray([explained_variance(rollout.values, rollout.returns)]),
            "reward_std": np.asarray([rollout.rewards.std()]),
        }
        if rollout.reward_value_weight is not None:
            found["reward_value_weight"] = np.asarray([rollout.reward_value_weight])
        return found


class SingleStreamAdvantages(AdvantageEstimator):
    """Each answer against the tracked value of its prompt; prompts are drawn by how uncertain their reward is (arXiv:2509.13232).

    The divergence that decides how much is forgotten is measured as in the authors' code: the mean absolute log-ratio, per token, of the
    policy now and the policy that sampled the prompt's last answer, on that answer; 0 for a prompt without one.
    """

    def __init__(self, forgetting: Forgetting, first_answers: int, exploration: float, seed: int) -> None:
        self.forgetting, self.first_answers = forgetting, first_answers
        self.exploration, self.seed = exploration, seed
        self.tracker: ValueTracker | None = None
        self.last = LastAnswers()

    def begin(self, worker: RolloutWorker, schedule: RolloutSchedule, loop: Loop) -> None:
        """Before the first rollout, sample and score the first answers to every prompt, as many at a time as a rollout has."""
        if self.tracker is not None:
            return
        count, each = schedule.prompts, self.first_answers
        parts = -(-count * each // (schedule.prompts_of_phase * schedule.answers_each))
        rewards = []
        for number, rows in enumerate(np.array_split(np.arange(count), min(parts, count))):
            seeds = schedule.seeds_of(FIRST_ANSWERS, number, count=len(rows) * each)
            _, scores = worker.write(loop, rows, seeds, each)
            rewards.append(worker.rewards.total(scores).reshape(-1, each))
        self.tracker = ValueTracker(self.forgetting, np.concatenate(rewards))

    def prompts(self, schedule: RolloutSchedule, number: int) -> np.ndarray:
        assert self.tracker is not None
        return self.tracker.draw(len(schedule.rows_of(number)), self.exploration, self.seed, number)

    def estimate(self, rollout: RolloutBatch, earlier: RolloutBatch | None, worker: RolloutWorker, loop: Loop) -> None:
        assert self.tracker is not None
        rollout.tracked_values = self.tracker.values[rollout.rows]
        rollout.divergence = self._divergence(rollout.rows, worker, loop)
        advantages = single_stream_advantages(rollout.rewards, rollout.tracked_values)
        rollout.advantages = np.repeat(advantages, rollout.lengths)
        self.tracker.update(rollout.rows, rollout.rewards, rollout.divergence)
        for place, row in enumerate(rollout.rows.tolist()):
            self.last.put(row, rollout.completion(place), rollout.logprobs[rollout.tokens_of([place])])

    def _divergence(self, rows: np.ndarray, worker: RolloutWorker, loop: Loop) -> np.ndarray:
        """Of the policy since each prompt was last answered (prompts,), in nats per token."""
        divergence = np.zeros(len(rows))
        places = self.last.answered(rows)
        if places:
            answered = rows[places].tolist()
            ids, before = [self.last.ids[row] for row in answered], [self.last.logprobs[row] for row in answered]
            lengths = np.asarray([len(one) for one in ids])
            ended = np.ones(len(ids), dtype=bool)
            now = worker.logprobs(loop, Answers(rows[places], np.concatenate(ids), lengths, ended, ~ended))
            moved = np.abs(np.concatenate(before) - now)
            divergence[places] = np.add.reduceat(moved, np.cumsum(lengths) - lengths) / lengths
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
