"""Rows with several scores or a class: their items, and the objectives that a reward model with several outputs learns them by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from autotrain_llm.data.rows import TokenRows
from autotrain_llm.run.engine.answer_items import AnswerItem, Preferences, split_at_answer
from autotrain_llm.run.engine.flat.model import SCORES, FlatOutput
from autotrain_llm.run.engine.layouts import PromptGroup
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, count_answers, mean_of

MOMENTS = ("x", "y", "xx", "yy", "xy")


class GradedAnswers(Preferences):
    """Items are a prompt, one answer and its scores, or the index of its class."""

    answers_each = 1

    def __init__(self, rows: TokenRows) -> None:
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def prompt_group(self, index: int) -> PromptGroup:
        return split_at_answer(self.rows[index])

    def __getitem__(self, index: int) -> AnswerItem:
        assert self.rows.scores is not None, "rows without scores"
        return replace(super().__getitem__(index), scores=self.rows.scores[index])


def regression(labels: Sequence[str]) -> Objective:
    """The squared error of each score, a mean over the scores of a row and over rows: as in SteerLM's attribute model (Dong et al. 2023,
    arXiv:2310.05344) and in ArmoRM (Wang et al. 2024, arXiv:2406.12845).

    Metrics: `mse`, and `mse/NAME` and Pearson's `correlation/NAME` of each score; `correlation` is their mean.
    """

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        scores = _outputs(output, len(labels))
        return ((scores - batch["scores"].to(scores.dtype)) ** 2).mean(-1).sum()

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        scores, targets = _outputs(output, len(labels)).detach().double(), batch["scores"].double()
        errors = (scores - targets) ** 2
        sums = {"mse": mean_of(errors.mean(-1))}
        for at, label in enumerate(labels):
            x, y = scores[:, at], targets[:, at]
            sums[f"mse/{label}"] = mean_of(errors[:, at])
            sums |= {
                f"_{name}/{label}": mean_of(value)
                for name, value in zip(MOMENTS, (x, y, x * x, y * y, x * y), strict=True)
            }
        return sums

    def correlations(metrics: Mapping[str, float]) -> dict[str, float]:
        """Pearson's correlation of each score over all rows since the last log; none for a constant one."""
        each = {label: _pearson(*(metrics.get(f"_{name}/{label}", math.nan) for name in MOMENTS)) for label in labels}
        known = {f"correlation/{label}": value for label, value in each.items() if math.isfinite(value)}
        return {**known, "correlation": sum(known.values()) / len(known)} if known else {}

    return Objective(SCORES, loss, count_answers, batch_metrics, correlations)


def classification(labels: Sequence[str]) -> Objective:
    """The cross entropy of each answer's class, a mean over rows. Metrics: `accuracy`, and `accuracy/NAME` of the rows of each class."""

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        classes = batch["scores"][:, 0].long()
        return torch.nn.functional.cross_entropy(_outputs(output, len(labels)).float(), classes, reduction="sum")

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        classes = batch["scores"][:, 0].long()
        is_right = (_outputs(output, len(labels)).argmax(-1) == classes).double()
        each = {f"accuracy/{label}": mean_of(is_right[classes == at]) for at, label in enumerate(labels)}
        return {"accuracy": mean_of(is_right), **each}

    return Objective(SCORES, loss, count_answers, batch_metrics)


def _outputs(output: FlatOutput, count: int) -> torch.Tensor:
    assert output.scores is not None
    return output.scores.reshape(-1, count)


def _pearson(x: float, y: float, xx: float, yy: float, xy: float) -> float:
    """The correlation from the means of x, y, their squares and their product; not a number where one of them is constant."""
    variance = (xx - x * x) * (yy - y * y)
    return (xy - x * y) / math.sqrt(variance) if variance > 1e-24 else math.nan
