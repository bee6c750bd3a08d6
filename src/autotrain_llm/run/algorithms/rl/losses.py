"""Losses per answer token: the clipped policy surrogate, the clipped value loss and the k3 estimate of a KL divergence.

All take and return tensors (tokens,); an objective sums them and the loop divides by the number of answer tokens in a step.
"""

from __future__ import annotations

import torch


def clipped_policy_loss(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """-min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) with ρ = exp(log π - log π_old) (Schulman et al. 2017, arXiv:1707.06347, eq. 7)."""
    ratio = torch.exp(logprobs - old)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def clipped_share(logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """1 for tokens without a policy gradient because their ratio is clipped, else 0."""
    ratio = torch.exp(logprobs - old)
    return (((ratio > 1 + clip) & (advantages > 0)) | ((ratio < 1 - clip) & (advantages < 0))).double()


def clipped_value_loss(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """max((V - R)², (V' - R)²) / 2, where V' is V clipped to within `clip` of the value at the time of the rollout."""
    clipped = torch.maximum(torch.minimum(values, old + clip), old - clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Schulman's third estimate of KL(π‖reference) at a sampled token: exp(d) - d - 1 with d = log reference - log π; never below 0."""
    difference = reference - logprobs
    return torch.exp(difference) - difference - 1
