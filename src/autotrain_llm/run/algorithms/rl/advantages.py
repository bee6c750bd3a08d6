"""Advantages from scores: by how much each token's return exceeds the expected one. Only arrays, no model.

The tokens of all answers are concatenated in flat float64 arrays (tokens,); `lengths` (answers,) is the number of tokens of each, at
least one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GRPO, DR_GRPO, RLOO = "grpo", "dr_grpo", "rloo"
# Added to a standard deviation before dividing by it, as in TRL 1.16: it is 0 in a group whose answers all scored the same.
GROUP_EPSILON = 1e-4
TOKEN_EPSILON = 1e-8


def token_rewards(scores: np.ndarray, kl: np.ndarray, lengths: np.ndarray, kl_coef: float) -> np.ndarray:
    """Each token's reward (tokens,): -`kl_coef` times its log-ratio `kl` (tokens,), plus the answer's score at its last token."""
    rewards = -kl_coef * kl
    rewards[np.cumsum(lengths) - 1] += scores
    return rewards


def generalised_advantages(
    rewards: np.ndarray, values: np.ndarray, lengths: np.ndarray, gamma: float, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and returns (tokens,) by generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438, eq. 16).

    A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} - V_t; the value after an answer's last token, finished or cut off, is zero. The
    return, the target of the value loss, is A_t + V_t.
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wide = np.zeros((2, len(lengths), int(lengths.max(initial=0)) + 1))
    wide[0, rows, columns], wide[1, rows, columns] = rewards, values
    advantages = np.zeros_like(wide[0])
    for column in range(wide.shape[2] - 2, -1, -1):
        delta = wide[0, :, column] + gamma * wide[1, :, column + 1] - wide[1, :, column]
        advantages[:, column] = delta + gamma * gae_lambda * advantages[:, column + 1]
    flat = advantages[rows, columns]
    return flat, flat + values


def discounted(rewards: np.ndarray, lengths: np.ndarray, gamma: float) -> np.ndarray:
    """The discounted return from each token on (tokens,)."""
    return generalised_advantages(rewards, np.zeros_like(rewards), lengths, gamma, 1.0)[1]


def fit_slope(predictions: np.ndarray, returns: np.ndarray) -> float:
    """The least-squares slope of `returns` on `predictions`, with an intercept, clamped to [0, 1]; 0 for constant predictions."""
    centred = predictions - predictions.mean()
    squares = float((centred**2).sum())
    return min(max(float((centred * returns).sum()) / squares, 0.0), 1.0) if squares > 0 else 0.0


def whiten(advantages: np.ndarray) -> np.ndarray:
    """Normalised to mean 0 and standard deviation 1 over all tokens; constant advantages become 0."""
    return (advantages - advantages.mean()) / (advantages.std() + TOKEN_EPSILON)


def in_groups(scores: np.ndarray, size: int) -> np.ndarray:
    """Scores (answers,) as (prompts, size): the answers to a prompt are adjacent."""
    return scores.reshape(-1, size)


def grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """Each score minus its group's mean, divided by its group's standard deviation (DeepSeekMath, arXiv:2402.03300, section 4.1.2)."""
    centred = in_groups(dr_grpo_advantages(scores, size), size)
    return (centred / (group_deviations(scores, size)[:, None] + GROUP_EPSILON)).ravel()


def dr_grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """Each score minus its group's mean, not divided by the deviation (Dr. GRPO, arXiv:2503.20783)."""
    groups = in_groups(scores, size)
    return (groups - groups.mean(1, keepdims=True)).ravel()


def rloo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """Each score minus the mean of the other scores in its group (RLOO, arXiv:2402.14740)."""
    groups = in_groups(scores, size)
    others = (groups.sum(1, keepdims=True) - groups) / (size - 1)
    return (groups - others).ravel()


GROUP_ADVANTAGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    GRPO: grpo_advantages,
    DR_GRPO: dr_grpo_advantages,
    RLOO: rloo_advantages,
}


def group_deviations(scores: np.ndarray, size: int) -> np.ndarray:
    """The sample standard deviation of each group's scores (prompts,)."""
    return in_groups(scores, size).std(1, ddof=1)


@dataclass
class KlController:
    """The KL coefficient. With a `target`, in nats per answer, it adapts to the observed KL (Ziegler et al. 2019, arXiv:1909.08593,
    section 2.2): after each rollout it is multiplied by 1 + 0.1 e, where e is the relative error clamped to ±0.2."""

    coefficient: float
    target: float | None = None

    RATE = 0.1
    MAX_ERROR = 0.2

    def update(self, kl: float) -> None:
        """`kl` is the mean over a rollout's answers of the summed log-ratio of policy and reference."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -self.MAX_ERROR), self.MAX_ERROR)
            self.coefficient *= 1 + self.RATE * error


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 - Var(returns - values) / Var(returns): 1 for perfect values, 0 for constant ones; 0 if the returns are constant."""
    variance = float(returns.var())
    return 1 - float((returns - values).var()) / variance if variance > 0 else 0.0
