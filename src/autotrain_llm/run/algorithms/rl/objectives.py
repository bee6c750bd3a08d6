"""The objectives of ppo, and of grpo and spo: sums over the tokens of sampled answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from autotrain_llm.run.algorithms.rl.losses import clipped_policy_loss, clipped_share, clipped_value_loss, k3
from autotrain_llm.run.engine.flat.model import LOGPROBS, VALUES, FlatOutput
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, count_targets, mean_of

APPROX_KL = "approx_kl"  # the divergence of the policy from the one that sampled the answers


def ppo(settings: Mapping[str, Any]) -> Objective:
    """Proximal policy optimisation (Schulman et al. 2017): the clipped surrogate, plus `rl_value_loss_coef` times the clipped value
    loss, minus `rl_entropy_coef` times the entropy; each is a mean over the answer tokens of a step."""
    weight, value_clip = float(settings["rl_value_loss_coef"]), float(settings["rl_value_clip_range"])

    def value_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        assert output.value is not None
        value = output.value.double() + batch.get("baseline", 0.0)
        return clipped_value_loss(value, batch["old_values"], batch["returns"], value_clip)

    def extra_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        return weight * value_loss(output, batch)

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        return {"value_loss": mean_of(value_loss(output, batch))}

    return _policy_objective(settings, VALUES, extra_loss, batch_metrics)


def grpo(settings: Mapping[str, Any]) -> Objective:
    """Group-relative policy optimisation (DeepSeekMath, arXiv:2402.03300, eq. 3): the clipped surrogate and `rl_kl_coef` times the k3
    estimate of KL(π‖reference), each the mean over the answer tokens of a step (DAPO, arXiv:2503.14476; TRL's loss_type dapo)."""

    def extra_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        if "reference" not in batch:
            return torch.zeros_like(batch["advantages"])
        return batch["kl_coef"] * k3(_logprobs(output), batch["reference"])

    return _policy_objective(settings, LOGPROBS, extra_loss, lambda output, batch: {})


def _policy_objective(
    settings: Mapping[str, Any],
    compute: str,
    extra_loss: Callable[[FlatOutput, Batch], torch.Tensor],
    extra_metrics: Callable[[FlatOutput, Batch], Sums],
) -> Objective:
    """The clipped surrogate and the entropy bonus, plus `extra_loss` per token (tokens,)."""
    clip, bonus = float(settings["rl_clip_range"]), float(settings["rl_entropy_coef"])

    def surrogate(output: FlatOutput, batch: Batch) -> torch.Tensor:
        return clipped_policy_loss(_logprobs(output), batch["old_logprobs"], batch["advantages"], clip)

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        total = (surrogate(output, batch) + extra_loss(output, batch)).sum()
        return total - bonus * _entropy(output).sum() if bonus else total

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        logprobs, old, advantages = _logprobs(output).detach(), batch["old_logprobs"], batch["advantages"]
        return {
            "policy_loss": mean_of(surrogate(output, batch)),
            "entropy": mean_of(_entropy(output)),
            "clip_fraction": mean_of(clipped_share(logprobs, old, advantages, clip)),
            APPROX_KL: mean_of(
                k3(old, logprobs)
            ),  # KL(π_old‖π): the tokens were sampled from π_old, so the arguments are swapped
            **extra_metrics(output, batch),
            **batch["rollout_metrics"],
        }

    return Objective(compute, loss, count_targets, batch_metrics)


def _logprobs(output: FlatOutput) -> torch.Tensor:
    assert output.logprobs is not None
    return output.logprobs.double()


def _entropy(output: FlatOutput) -> torch.Tensor:
    assert output.entropy is not None
    return output.entropy
