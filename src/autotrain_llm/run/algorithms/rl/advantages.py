"""From scores to advantages.

Tokens of all answers are concatenated in flat float64 arrays (tokens,); `lengths` (answers,) are the tokens of each, at least one. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GRPO, DR_GRPO, RLOO = "grpo", "dr_grpo", "rloo"
# Added to a deviation before it divides, as TRL 1.16 does: a group that was scored alike has none.
GROUP_EPSILON = 1e-4
TOKEN_EPSILON = 1e-8


def token_rewards(scores: np.ndarray, kl: np.ndarray, lengths: np.ndarray, kl_coef: float) -> np.ndarray:
    """Each token's reward (tokens,): minus `kl_coef` times its log-ratio `kl` (tokens,), plus the score at an answer's last token."""
    rewards = -kl_coef * kl
    rewards[np.cumsum(lengths) - 1] += scores
    return rewards


def generalised_advantages(
    rewards: np.ndarray, values: np.ndarray, lengths: np.ndarray, gamma: float, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and returns (tokens,) by generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438, eq. 16).

    A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} - V_t; after an answer's last token, finished or cut off, nothing is expected. The
    return that the value is taught is A_t + V_t.
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    wide = np.zeros((2, len(lengths), int(lengths.max(initial=0)) + 1))
    wide[0, rows, places], wide[1, rows, places] = rewards, values
    advantages = np.zeros_like(wide[0])
    for column in range(wide.shape[2] - 2, -1, -1):
        surprise = wide[0, :, column] + gamma * wide[1, :, column + 1] - wide[1, :, column]
        advantages[:, column] = surprise + gamma * gae_lambda * advantages[:, column + 1]
    flat = advantages[rows, places]
    return flat, flat + values


def discounted(rewards: np.ndarray, lengths: np.ndarray, gamma: float) -> np.ndarray:
    """The discounted return from each token on (tokens,)."""
    return generalised_advantages(rewards, np.zeros_like(rewards), lengths, gamma, 1.0)[1]


def fit_slope(guesses: np.ndarray, returns: np.ndarray) -> float:
    """The least-squares slope of `returns` on `guesses`, clamped to [0, 1]."""
    apart = guesses - guesses.mean()
    spread = float((apart**2).sum())
    return min(max(float((apart * returns).sum()) / spread, 0.0), 1.0) if spread > 0 else 0.0


def whiten(advantages: np.ndarray) -> np.ndarray:
    """Normalised to mean 0 and standard deviation 1 over all tokens; constant advantages become 0."""
    return (advantages - advantages.mean()) / (advantages.std() + TOKEN_EPSILON)


def in_groups(scores: np.ndarray, size: int) -> np.ndarray:
    """Scores (answers,) as (prompts, size): the answers to one prompt are adjacent."""
    return scores.reshape(-1, size)


def grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """(score - group mean) / group standard deviation (DeepSeekMath, arXiv:2402.03300, section 4.1.2)."""
    groups = in_groups(scores, size)
    return (
        dr_grpo_advantages(scores, size).reshape(groups.shape) / (_deviations(groups)[:, None] + GROUP_EPSILON)
    ).ravel()


def dr_grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """score - group mean (Dr. GRPO, arXiv:2503.20783): prompts are not reweighted by their difficulty."""
    groups = in_groups(scores, size)
    return (groups - groups.mean(1, keepdims=True)).ravel()


def rloo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """score - mean of the group's other scores (RLOO, arXiv:2402.14740)."""
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
    return _deviations(in_groups(scores, size))


def _deviations(groups: np.ndarray) -> np.ndarray:
    return groups.std(1, ddof=1)


@dataclass
class KlController:
    """The KL coefficient. With a `target`, in nats per answer, it is adapted after each rollout (Ziegler et al. 2019, arXiv:1909.08593, section 2.2): multiplied by
    1 + 0.1 e, e the relative error clamped to ±0.2."""

    coefficient: float
    target: float | None = None

    RATE = 0.1
    MOST = 0.2

    def measured(self, kl: float) -> None:
        """Adapt to `kl`, the mean over a rollout's answers of the summed log-ratio of policy and reference."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -self.MOST), self.MOST)
            self.coefficient *= 1 + self.RATE * error


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 - Var(returns - values) / Var(returns); 0 where the returns are constant."""
    spread = float(returns.var())
    return 1 - float((returns - values).var()) / spread if spread > 0 else 0.0
