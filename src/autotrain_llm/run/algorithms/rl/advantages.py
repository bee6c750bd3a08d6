"""From scores to advantages: what each token of an answer was worth beyond what was expected of it.

Tokens of several answers lie one after the other in flat float64 arrays (tokens,); `lengths` (answers,) says how many belong to each, at
least one. Nothing here knows a model.
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
    """Each token's reward (tokens,): minus `kl_coef` times its log-ratio `kl` (tokens,), and at an answer's last token its score too."""
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
    """What each token and those after it brought (tokens,), later rewards times `gamma` for each step."""
    return generalised_advantages(rewards, np.zeros_like(rewards), lengths, gamma, 1.0)[1]


def fit_slope(guesses: np.ndarray, returns: np.ndarray) -> float:
    """The share of `guesses`, between 0 and 1, that foretells `returns` best beside a constant: the slope of least squares, held there."""
    apart = guesses - guesses.mean()
    spread = float((apart**2).sum())
    return min(max(float((apart * returns).sum()) / spread, 0.0), 1.0) if spread > 0 else 0.0


def whiten(advantages: np.ndarray) -> np.ndarray:
    """With mean nought and deviation one over all tokens; those that are all alike become nought."""
    return (advantages - advantages.mean()) / (advantages.std() + TOKEN_EPSILON)


def in_groups(scores: np.ndarray, size: int) -> np.ndarray:
    """Scores (answers,) as (prompts, size): the answers to one prompt lie one after the other."""
    return scores.reshape(-1, size)


def grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """By how much each score is above its group's mean, in deviations of its group (DeepSeekMath, arXiv:2402.03300, section 4.1.2)."""
    groups = in_groups(scores, size)
    return (
        dr_grpo_advantages(scores, size).reshape(groups.shape) / (_deviations(groups)[:, None] + GROUP_EPSILON)
    ).ravel()


def dr_grpo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """By how much each score is above its group's mean (Dr. GRPO, arXiv:2503.20783): hard and easy prompts weigh what their scores say."""
    groups = in_groups(scores, size)
    return (groups - groups.mean(1, keepdims=True)).ravel()


def rloo_advantages(scores: np.ndarray, size: int) -> np.ndarray:
    """By how much each score is above the mean of the others in its group (RLOO, arXiv:2402.14740)."""
    groups = in_groups(scores, size)
    others = (groups.sum(1, keepdims=True) - groups) / (size - 1)
    return (groups - others).ravel()


GROUP_ADVANTAGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    GRPO: grpo_advantages,
    DR_GRPO: dr_grpo_advantages,
    RLOO: rloo_advantages,
}


def group_deviations(scores: np.ndarray, size: int) -> np.ndarray:
    """The deviation of each group's scores (prompts,), as of a sample."""
    return _deviations(in_groups(scores, size))


def _deviations(groups: np.ndarray) -> np.ndarray:
    return groups.std(1, ddof=1)


@dataclass
class KlController:
    """The price of moving away from the reference. With a `target`, in nats per answer, it follows what was measured (Ziegler et al. 2019,
    arXiv:1909.08593, section 2.2): after each phase it is multiplied by 1 + 0.1 e, e the relative error held within ±0.2."""

    coefficient: float
    target: float | None = None

    RATE = 0.1
    MOST = 0.2

    def measured(self, kl: float) -> None:
        """`kl` is the mean over a phase's answers of policy and reference's summed log-ratio."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -self.MOST), self.MOST)
            self.coefficient *= 1 + self.RATE * error


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """The share of the returns' variance that the values knew before: 1 is all, 0 is none; 0 where returns don't vary."""
    spread = float(returns.var())
    return 1 - float((returns - values).var()) / spread if spread > 0 else 0.0
