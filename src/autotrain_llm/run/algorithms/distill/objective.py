"""The task's objective with a teacher's share in it: `(1 - α) · task + α T² · divergence`.

Where the task's items are tokens, the divergence of each counts once, so that both parts are means over the same tokens. Where they are
pairs, the divergence of a pair is the mean over the tokens of its chosen answer: each pair counts the same, as in the task's own loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from autotrain_llm.run.engine.flat.model import DISTILLED, FlatOutput
from autotrain_llm.run.engine.logps import lengths
from autotrain_llm.run.engine.objective import Batch, Objective, Sums


def distilled(task: Objective, alpha: float, temperature: float, *, pairs: bool) -> Objective:
    """The objective of a task with a teacher's share `alpha` (0 to 1). `pairs`: whether an item of the task is a pair of answers, else a token. The batch holds
    its `distill_target`."""
    share, softening = alpha, temperature**2
    of_tokens = not pairs

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        assert output.loss is not None
        return output.loss if of_tokens else (1 - share) * task.loss(output, batch) + output.loss

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        assert output.logprobs is not None and output.divergence is not None
        items = torch.tensor(float(task.items(batch)), device=output.divergence.device)
        own = -output.logprobs.detach().sum() if of_tokens else task.loss(output, batch).detach()
        weights = batch["distill_target"].weights
        apart = output.divergence if weights is None else output.divergence * weights
        return {
            **task.batch_metrics(output, batch),
            "task_loss": (own, items),
            "distill_loss": (softening * apart.double().sum(), items),
        }

    def derived_metrics(measured: Mapping[str, float]) -> dict[str, float]:
        """Metrics that are derived from the loss are derived from the task's part of it."""
        own = {"loss": measured["task_loss"]} if "loss" in measured and "task_loss" in measured else {}
        return task.derived_metrics({**measured, **own})

    return replace(task, compute=DISTILLED, loss=loss, batch_metrics=batch_metrics, derived_metrics=derived_metrics)


def of_chosen(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices of the targets in chosen answers, and for each 1 / the number of tokens in its answer."""
    answers = batch["target_answers"]
    where = torch.nonzero(answers % 2 == 0).flatten()  # chosen answers come first in their pairs
    return where, lengths(batch).double().reciprocal()[answers[where]]
