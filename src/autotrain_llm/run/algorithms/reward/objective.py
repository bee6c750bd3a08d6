"""The objective of reward models: Bradley-Terry on the scores of the two answers of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from autotrain_llm.run.engine.flat.model import SCORES, FlatOutput
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, count_pairs, mean_of, number_on

BINS = 10
BIN = "_calibration_"


def pairwise(settings: Mapping[str, Any]) -> Objective:
    """-log σ(m) per pair, where m is the score of the chosen answer minus that of the rejected one (Bradley and Terry 1952).

    With `label_smoothing` ε, its expectation when a fraction ε of the labels is flipped: -(1-ε) log σ(m) - ε log σ(-m).
    """
    smoothing = float(settings["label_smoothing"])

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        chosen, rejected = _sides(output)
        return pairwise_loss(chosen, rejected, smoothing).sum()

    return Objective(SCORES, loss, count_pairs, _batch_metrics, _calibration, _extremes)


def pairwise_loss(chosen: torch.Tensor, rejected: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The loss of each pair (pairs,) from the scores of its two answers."""
    margin = chosen - rejected
    return -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)


def _sides(output: FlatOutput) -> tuple[torch.Tensor, torch.Tensor]:
    assert output.scores is not None
    return output.scores[0::2], output.scores[1::2]


def _batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
    """Under TRL's names: accuracy, margin and mean_reward."""
    chosen, rejected = (side.detach().double() for side in _sides(output))
    both = torch.cat([chosen, rejected])
    return {
        "accuracy": mean_of((chosen > rejected).double()),
        "margin": mean_of(chosen - rejected),
        "chosen_reward": mean_of(chosen),
        "rejected_reward": mean_of(rejected),
        "mean_reward": mean_of(both),
        **_bins(chosen - rejected),
    }


def _extremes(output: FlatOutput, batch: Batch) -> dict[str, torch.Tensor]:
    """The smallest and the largest score of an answer; TRL averages those of its batches."""
    assert output.scores is not None
    return {"min_reward": output.scores.detach(), "max_reward": output.scores.detach()}


def _bins(margin: torch.Tensor) -> Sums:
    """For each of ten bins of confidence: the sum over its pairs of confidence minus correctness, as a fraction of all pairs.

    A pair's confidence is σ(|m|), in [0.5, 1]: the probability of the answer with the higher score.
    """
    confidence = torch.sigmoid(margin.abs())
    excess = confidence - (margin > 0).double()
    bins = ((confidence - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    sums = excess.new_zeros(BINS).index_add(0, bins, excess)
    count = number_on(len(margin), margin.device)
    return {f"{BIN}{index}": (sums[index], count) for index in range(BINS)}


def _calibration(metrics: Mapping[str, float]) -> dict[str, float]:
    """The expected calibration error (Guo et al. 2017, arXiv:1706.04599) of all evaluation pairs; a training log has too few pairs for it."""
    if "loss" not in metrics:
        return {}
    return {"calibration": sum(abs(value) for name, value in metrics.items() if name.startswith(BIN))}
