"""The distillation objective: `(1 - α) · task loss + α T² · divergence of student and teacher`.

For tasks whose loss is a mean over tokens, the divergence is the mean over the same tokens. For tasks over pairs, the divergence of a
pair is the mean over the tokens of its chosen answer, so that each pair has the same weight, as in the task's own loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from autotrain_llm.run.engine.flat.model import DISTILLED, FlatOutput
from autotrain_llm.run.engine.flat.tiled_head import weighted
from autotrain_llm.run.engine.layouts import TARGET_WEIGHTS
from autotrain_llm.run.engine.logps import lengths
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, number_on


def distilled(task: Objective, alpha: float, temperature: float, *, pairs: bool) -> Objective:
    """The task's objective mixed with the divergence from a teacher, whose weight is `alpha` (0 to 1).

    pairs: whether the task's loss is a mean over pairs; else it is a mean over tokens. Batches must have a `distill_target`.
    """
    scale = temperature**2
    of_tokens = not pairs

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        assert output.loss is not None
        # Over tokens, the model's forward mixes both terms already; over pairs, output.loss is the teacher's term alone.
        return output.loss if of_tokens else (1 - alpha) * task.loss(output, batch) + output.loss

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        assert output.logprobs is not None and output.divergence is not None
        items = number_on(task.items(batch), output.divergence.device)
        task_loss = _of_labels(output, batch) if of_tokens else task.loss(output, batch).detach()
        divergence = weighted(output.divergence, batch["distill_target"].weights)
        return {
            **task.batch_metrics(output, batch),
            "task_loss": (task_loss, items),
            "distill_loss": (scale * divergence.double().sum(), items),
        }

    def derived_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
        """Derived from the task's loss, not from the mixture: perplexity would be wrong otherwise."""
        task_loss = {"loss": metrics["task_loss"]} if "loss" in metrics and "task_loss" in metrics else {}
        return task.derived_metrics({**metrics, **task_loss})

    return replace(task, compute=DISTILLED, loss=loss, batch_metrics=batch_metrics, derived_metrics=derived_metrics)


def _of_labels(output: FlatOutput, batch: Batch) -> torch.Tensor:
    """The summed cross entropy of the labels, each times its weight."""
    assert output.logprobs is not None
    return -weighted(output.logprobs.detach(), batch.get(TARGET_WEIGHTS)).sum()


def of_chosen(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices of the targets in chosen answers, and the weight of each: 1 / tokens of its answer."""
    answers = batch["target_answers"]
    indices = torch.nonzero(answers % 2 == 0).flatten()  # chosen answers come first in their pairs
    return indices, lengths(batch).double().reciprocal()[answers[indices]]
