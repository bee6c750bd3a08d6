"""What is minimised: each objective is a small function of the log-probabilities of the tokens to predict.

A trainer's `objective` names one of the makers below. What an objective returns is a sum; the loop divides it by the number of items in
the whole optimizer step, over all batches and processes, so that neither accumulation nor the number of processes changes the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.run.flat.model import LOSS, FlatOutput

Batch = Mapping[str, Any]
Sums = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Objective:
    """compute: what the model's call returns (`flat.model`); loss: its sum over the batch's items; items: how many there are;
    measures: by name, a sum and what it is divided by."""

    compute: str
    loss: Callable[[FlatOutput, Batch], torch.Tensor]
    items: Callable[[Batch], int]
    measures: Callable[[FlatOutput, Batch], Sums]


def next_token(settings: Mapping[str, Any]) -> Objective:
    """Cross entropy of the tokens that are trained on, in nats, each counting the same."""
    return Objective(LOSS, _summed_loss, _targets, _token_measures)


def _summed_loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
    assert output.loss is not None
    return output.loss


def _targets(batch: Batch) -> int:
    return int(batch["target_labels"].numel())


def _token_measures(output: FlatOutput, batch: Batch) -> Sums:
    assert output.correct is not None
    count = torch.tensor(float(output.correct.numel()), device=output.correct.device)
    sums = {"token_accuracy": (output.correct.sum().float(), count)}
    if output.entropy is not None:
        sums["entropy"] = (output.entropy.sum().float(), count)
    return sums
