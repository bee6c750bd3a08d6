"""The loss of each token: the clipped surrogate of the policy, the clipped error of the value, the estimate of a KL divergence.

All take and return tensors (tokens,); an objective adds them up and the loop divides by the answer tokens of the whole step.
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
    """1 for the tokens whose gradient is clipped away, else 0."""
    ratio = torch.exp(logprobs - old)
    return (((ratio > 1 + clip) & (advantages > 0)) | ((ratio < 1 - clip) & (advantages < 0))).double()


def clipped_value_loss(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Half the larger of (V - R)² and (V' - R)², V' being the value clipped to within `clip` of its value at sampling time."""
    held = torch.maximum(torch.minimum(values, old + clip), old - clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)


def k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Schulman's third estimate of KL(π‖reference) at a sampled token: exp(d) - d - 1 with d = log reference - log π; never below 0."""
    apart = reference - logprobs
    return torch.exp(apart) - apart - 1
