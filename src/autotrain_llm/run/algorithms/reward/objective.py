"""The loss of a reward model: the score of the chosen answer above that of the rejected one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from autotrain_llm.run.engine.flat.model import SCORES, FlatOutput
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, mean_of

BINS = 10
BIN = "_calibration_"


def pairwise(settings: Mapping[str, Any]) -> Objective:
    """-log σ(m) per pair, m the score of the chosen answer above that of the rejected one (Bradley and Terry 1952).

    With `label_smoothing` ε the expectation where that share of the pairs is labelled the wrong way round: -(1-ε) log σ(m) - ε log σ(-m).
    """
    smoothing = float(settings["label_smoothing"])

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        chosen, rejected = _sides(output)
        return pairwise_loss(chosen, rejected, smoothing).sum()

    return Objective(SCORES, loss, _pairs, _batch_metrics, _calibration)


def pairwise_loss(chosen: torch.Tensor, rejected: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The loss of each pair (pairs,), of the scores of its two answers."""
    margin = chosen - rejected
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def _sides(output: FlatOutput) -> tuple[torch.Tensor, torch.Tensor]:
    assert output.scores is not None
    return output.scores[0::2], output.scores[1::2]


def _pairs(batch: Batch) -> int:
    return int(batch["answers"]) // 2


def _batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
    """Under TRL's names: accuracy, margin, mean_reward, and min_reward and max_reward, which are those of a batch, averaged over batches."""
    chosen, rejected = (side.detach().double() for side in _sides(output))
    both = torch.cat([chosen, rejected])
    return {
        "accuracy": mean_of((chosen > rejected).double()),
        "margin": mean_of(chosen - rejected),
        "chosen_reward": mean_of(chosen),
        "rejected_reward": mean_of(rejected),
        "mean_reward": mean_of(both),
        "min_reward": mean_of(both.sort().values[:1]),  # of no pair at all, too: then it counts nothing
        "max_reward": mean_of(both.sort().values[-1:]),
        **_bins(chosen - rejected),
    }


def _bins(margin: torch.Tensor) -> Sums:
    """For each tenth of confidence: the sum of confidence minus accuracy, over the number of all pairs.

    A pair's confidence is the sigmoid of its margin's absolute value, from 0.5 to 1.
    """
    confidence = torch.sigmoid(margin.abs())
    excess = confidence - (margin > 0).double()
    places = ((confidence - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    sums = excess.new_zeros(BINS).index_add(0, places, excess)
    count = torch.tensor(float(len(margin)), device=margin.device)
    return {f"{BIN}{number}": (sums[number], count) for number in range(BINS)}


def _calibration(measured: Mapping[str, float]) -> dict[str, float]:
    """The expected calibration error (Guo et al. 2017, arXiv:1706.04599) of all evaluation pairs; a training batch has too few for it."""
    if "loss" not in measured:
        return {}
    return {"calibration": sum(abs(value) for name, value in measured.items() if name.startswith(BIN))}
