"""Objectives: small functions of the targets' log-probabilities. Next-token prediction's is below; each algorithm has its own.

An objective returns a sum; the loop divides it by the number of items in the whole optimizer step, over all batches and processes, so that
neither accumulation nor the number of processes changes the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.run.engine.flat.model import LOSS, FlatOutput

Batch = Mapping[str, Any]
Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]
ROUTER_LOSS = "router_loss"  # of a mixture of experts, a mean over tokens
ROUTER_TERM = "_router_term"  # the same as a term of the loss: weighted
MAX_PERPLEXITY_LOSS = 700.0  # exp overflows beyond


def no_derived_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """No derived metrics."""
    return {}


@dataclass(frozen=True)
class Objective:
    """A loss with its metrics.

    compute: the outputs that the model's forward must return (`flat.model`). loss: the sum over the batch's items. items: their number.
    batch_metrics: by name, a sum and its denominator. derived_metrics: metrics computed from those averages; averages whose names start
    with _ serve only to compute them and are not logged.
    """

    compute: str
    loss: Callable[[FlatOutput, Batch], torch.Tensor]
    items: Callable[[Batch], int]
    batch_metrics: Callable[[FlatOutput, Batch], Sums]
    derived_metrics: Callable[[Mapping[str, float]], dict[str, float]] = no_derived_metrics


def next_token() -> Objective:
    """Cross entropy of the trained tokens, in nats: a mean over tokens."""
    return Objective(LOSS, _summed_loss, _targets, _token_metrics, _perplexity)


def _summed_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
    assert output.loss is not None
    return output.loss


def _targets(batch: Batch) -> int:
    return int(batch["target_labels"].numel())


def _token_metrics(output: FlatOutput, batch: Batch) -> Sums:
    assert output.correct is not None
    count = torch.tensor(float(output.correct.numel()), device=output.correct.device)
    sums = {"token_accuracy": (output.correct.sum().float(), count)}
    if output.entropy is not None:
        sums["entropy"] = (output.entropy.sum().float(), count)
    return sums


def _perplexity(metrics: Mapping[str, float]) -> dict[str, float]:
    if "loss" not in metrics:
        return {}
    cross_entropy = metrics["loss"] - metrics.get(ROUTER_TERM, 0.0)
    return {"perplexity": math.exp(min(cross_entropy, MAX_PERPLEXITY_LOSS))}


def mean_of(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum and the count of values: a batch metric that is their mean."""
    return values.detach().sum(), torch.tensor(float(values.numel()), device=values.device)
