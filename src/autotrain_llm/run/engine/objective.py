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
Extremes = dict[str, torch.Tensor]
ROUTER_LOSS = "router_loss"  # of a mixture of experts, a mean over tokens
ROUTER_TERM = "_router_term"  # the same as a term of the loss: weighted
MAX_PERPLEXITY_LOSS = 700.0  # exp overflows beyond


def no_derived_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """No derived metrics."""
    return {}


def no_extremes(output: FlatOutput, batch: Batch) -> dict[str, torch.Tensor]:
    """No metrics that are extremes."""
    return {}


@dataclass(frozen=True)
class Objective:
    """A loss with its metrics.

    compute: the outputs that the model's forward must return (`flat.model`). loss: the sum over the batch's items. items: their number.
    batch_metrics: by name, a sum and its denominator. derived_metrics: metrics computed from those averages; averages whose names start
    with _ serve only to compute them and are not logged. extremes: values of which the smallest (names with min_) or the largest (max_) over
    all batches and processes is logged.
    """

    compute: str
    loss: Callable[[FlatOutput, Batch], torch.Tensor]
    items: Callable[[Batch], int]
    batch_metrics: Callable[[FlatOutput, Batch], Sums]
    derived_metrics: Callable[[Mapping[str, float]], dict[str, float]] = no_derived_metrics
    extremes: Callable[[FlatOutput, Batch], dict[str, torch.Tensor]] = no_extremes


def next_token() -> Objective:
    """Cross entropy of the trained tokens, in nats: a mean over tokens."""
    return Objective(LOSS, _summed_loss, count_targets, _token_metrics, _perplexity)


def _summed_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
    assert output.loss is not None
    return output.loss


def count_targets(batch: Batch) -> int:
    """The items of an objective that is a mean over the tokens that are trained on."""
    return int(batch["target_labels"].numel())


def count_answers(batch: Batch) -> int:
    """The items of an objective that is a mean over answers."""
    return int(batch["answers"])


def count_pairs(batch: Batch) -> int:
    """The items of an objective that is a mean over pairs of answers."""
    return int(batch["answers"]) // 2


def _token_metrics(output: FlatOutput, batch: Batch) -> Sums:
    assert output.correct is not None
    count = number_on(output.correct.numel(), output.correct.device)
    sums = {"token_accuracy": (output.correct.sum().float(), count)}
    if output.entropy is not None:
        sums["entropy"] = (output.entropy.sum().float(), count)
    return sums


def _perplexity(metrics: Mapping[str, float]) -> dict[str, float]:
    if "loss" not in metrics:
        return {}
    cross_entropy = metrics["loss"] - metrics.get(ROUTER_TERM, 0.0)
    return {"perplexity": math.exp(min(cross_entropy, MAX_PERPLEXITY_LOSS))}


def is_minimum(name: str) -> bool:
    """Whether an extreme is the smallest of its values, and not the largest."""
    return name.startswith("min_")


def widen(extremes: Extremes, values: Mapping[str, torch.Tensor]) -> None:
    """Add the values of a batch to the extremes so far; a batch without values leaves infinity, which is further than any."""
    for name, of_batch in values.items():
        limit = of_batch.new_full((1,), math.inf if is_minimum(name) else -math.inf)
        known = torch.cat([extremes[name].reshape(1) if name in extremes else limit, of_batch.reshape(-1)])
        extremes[name] = known.min() if is_minimum(name) else known.max()


def number_on(number: float, device: torch.device) -> torch.Tensor:
    """A number as a float32 tensor, filled in on its device: `torch.tensor` would copy it there and wait for everything before."""
    return torch.full((), float(number), device=device)


def mean_of(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum and the count of values: a batch metric that is their mean."""
    return values.detach().sum(), number_on(values.numel(), values.device)
