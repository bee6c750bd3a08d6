"""The value tracker of single-stream policy optimisation: an estimate of each prompt's expected reward, kept throughout the run.

Xu and Ding 2025, "Single-stream Policy Optimization", arXiv:2509.13232. Only arrays, no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotrain_llm.data.order import ranges_of

FILE = "value_tracker.npz"
EPSILON = 1e-8  # added to a standard deviation before dividing by it
PROMPT_SEED = 2  # part of the seed for sampling prompts, so that it differs from the run's other seeds


@dataclass(frozen=True)
class Forgetting:
    """The retention rate rho of past observations: 2^(-D / half_life) clipped to [lowest, highest], D the divergence in nats per token."""

    half_life: float
    lowest: float
    highest: float

    def rate(self, divergence: np.ndarray) -> np.ndarray:
        """rho for each divergence; highest for an unchanged policy."""
        return np.clip(2.0 ** (-divergence / self.half_life), self.lowest, self.highest)

    @property
    def first_weight(self) -> float:
        """The number of answers that the first estimate counts as: 1 / (1 - lowest), the limit of the total weight at the lowest rate."""
        return 1 / (1 - self.lowest)


class ValueTracker:
    """The expected reward of each prompt, updated one answer at a time; arrays are float64 (prompts,).

    For rewards of 0 and 1 it is the Beta posterior of the paper: `total` is alpha and `weight - total` is beta. Other rewards are
    averaged by the same rule, and their variance is estimated from `squares` instead of v(1 - v); for 0 and 1 the two are equal.
    """

    def __init__(self, forgetting: Forgetting, rewards: np.ndarray) -> None:
        """`rewards` (prompts, n) are those of the first n answers to each prompt."""
        self.forgetting = forgetting
        self.weight = np.full(len(rewards), forgetting.first_weight)
        self.total = self.weight * rewards.mean(1)
        self.squares = self.weight * (rewards**2).mean(1)
        self.lowest, self.highest = float(rewards.min()), float(rewards.max())

    @property
    def values(self) -> np.ndarray:
        """The expected reward of each prompt, v = alpha / (alpha + beta)."""
        return self.total / self.weight

    def update(self, rows: np.ndarray, rewards: np.ndarray, divergence: np.ndarray) -> np.ndarray:
        """Observe one answer to each of these prompts, all different: alpha <- rho alpha + r, beta <- rho beta + (1 - r). Returns rho."""
        rate = self.forgetting.rate(divergence)
        self.weight[rows] = rate * self.weight[rows] + 1
        self.total[rows] = rate * self.total[rows] + rewards
        self.squares[rows] = rate * self.squares[rows] + rewards**2
        self.lowest, self.highest = min(self.lowest, float(rewards.min())), max(self.highest, float(rewards.max()))
        return rate

    def priorities(self, exploration: float) -> np.ndarray:
        """The sampling weight of each prompt: the standard deviation of its reward, sqrt(v(1 - v)), plus `exploration`.

        Rewards are divided by their observed range, so that `exploration` means the same on any scale.
        """
        deviation = np.sqrt(np.maximum(self.squares / self.weight - self.values**2, 0))
        return deviation / ((self.highest - self.lowest) or 1) + exploration

    def sample_rows(self, count: int, exploration: float, *seed: int) -> np.ndarray:
        """`count` different prompts, sampled with their priorities as weights."""
        return self._sample(range(len(self.weight)), count, exploration, (*seed, PROMPT_SEED))

    def sample_of_sources(
        self, counts: Sequence[int], sizes: Sequence[int], exploration: float, *seed: int
    ) -> np.ndarray:
        """Of each source of a mixture this many prompts, sampled like `sample_rows`; of a source with fewer prompts, all of them as often as
        needed. The sources have `sizes` prompts, one source after the other."""
        drawn = []
        for source, (count, own) in enumerate(zip(counts, ranges_of(sizes), strict=True)):
            whole, rest = divmod(count, len(own))
            drawn += [np.asarray(own)] * whole
            drawn.append(self._sample(own, rest, exploration, (*seed, PROMPT_SEED, source)))
        return np.concatenate(drawn)

    def _sample(self, among: range, count: int, exploration: float, seed: tuple[int, ...]) -> np.ndarray:
        weights = self.priorities(exploration)[among.start : among.stop]
        return among.start + np.random.default_rng(seed).choice(
            len(weights), count, replace=False, p=weights / weights.sum()
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The tracker's state."""
        state = {"weight": self.weight, "total": self.total, "squares": self.squares}
        return {**state, "range": np.asarray([self.lowest, self.highest])}

    @classmethod
    def from_arrays(cls, forgetting: Forgetting, arrays: Mapping[str, np.ndarray]) -> ValueTracker:
        """The object that `arrays` was called on."""
        tracker = cls(forgetting, np.zeros((len(arrays["weight"]), 1)))
        tracker.weight, tracker.total, tracker.squares = arrays["weight"], arrays["total"], arrays["squares"]
        tracker.lowest, tracker.highest = (float(end) for end in arrays["range"])
        return tracker


def single_stream_advantages(rewards: np.ndarray, values: np.ndarray) -> np.ndarray:
    """r - v of each answer (answers,), v being the value before the update, normalised to mean 0 and deviation 1 over the rollout."""
    differences = rewards - values
    return (differences - differences.mean()) / (differences.std() + EPSILON)


class LastAnswers:
    """The last answer to each prompt with its log-probabilities at sampling time, from which the policy's divergence is computed."""

    def __init__(self) -> None:
        self.ids: dict[int, np.ndarray] = {}
        self.logprobs: dict[int, np.ndarray] = {}

    def put(self, row: int, ids: np.ndarray, logprobs: np.ndarray) -> None:
        self.ids[row], self.logprobs[row] = ids, logprobs

    def answered(self, rows: np.ndarray) -> list[int]:
        """The positions among `rows` of prompts that were answered before."""
        return [position for position, row in enumerate(rows.tolist()) if row in self.ids]

    def arrays(self) -> dict[str, np.ndarray]:
        """All answers, concatenated, in the order of their prompts' rows."""
        rows = sorted(self.ids)
        return {
            "rows": np.asarray(rows, dtype=np.int64),
            "lengths": np.asarray([len(self.ids[row]) for row in rows], dtype=np.int64),
            "ids": _concatenate([self.ids[row] for row in rows], np.int32),
            "logprobs": _concatenate([self.logprobs[row] for row in rows], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LastAnswers:
        """The object that `arrays` was called on."""
        answers = cls()
        ends = np.cumsum(arrays["lengths"])
        for row, start, end in zip(arrays["rows"].tolist(), ends - arrays["lengths"], ends, strict=True):
            answers.put(row, arrays["ids"][start:end], arrays["logprobs"][start:end])
        return answers


def _concatenate(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype=dtype)


def save_tracker(tracker: ValueTracker, last: LastAnswers, folder: Path) -> None:
    """Write both, atomically."""
    unfinished = folder / f".{FILE}"
    answers = {f"last_{name}": array for name, array in last.arrays().items()}
    with unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **tracker.arrays(), **answers)
    unfinished.replace(folder / FILE)


def load_tracker(forgetting: Forgetting, folder: Path) -> tuple[ValueTracker, LastAnswers]:
    """The tracker and the answers that `save_tracker` wrote."""
    with np.load(folder / FILE, allow_pickle=False) as file:
        arrays = dict(file)
    last = {name.removeprefix("last_"): array for name, array in arrays.items() if name.startswith("last_")}
    return ValueTracker.from_arrays(forgetting, arrays), LastAnswers.from_arrays(last)
