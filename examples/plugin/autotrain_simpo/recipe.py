"""The recipe of SimPO, which is imported when a run starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from autotrain_llm.run.algorithms.recipe import Recipe
from autotrain_llm.run.engine.answer_items import Pairs
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.flat.model import LOGPROBS, FlatOutput
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.logps import lengths, sequence_logps
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, mean_of


class SimpoRecipe(Recipe):
    """Pairs, without a reference model."""

    items_are_pairs = True

    def make_objective(self) -> Objective:
        return simpo(self.plan.objective.settings)

    def make_dataset(self, rows: Any) -> Any:
        return Pairs(rows)

    def prepare(self, loaded: Loaded) -> None:
        without_dropout(loaded.model)


def simpo(settings: Mapping[str, Any]) -> Objective:
    """-log sigmoid(r(chosen) - r(rejected) - gamma) per pair, where r is beta times the mean log-probability of an answer's tokens (Meng, Xia and
    Chen 2024, arXiv:2405.14734, eq. 6)."""
    beta, gamma = float(settings["simpo_beta"]), float(settings["simpo_gamma"])

    def rewards(output: FlatOutput, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        of_answers = beta * sequence_logps(output, batch) / lengths(batch)
        return of_answers[0::2], of_answers[1::2]

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        chosen, rejected = rewards(output, batch)
        return -logsigmoid(chosen - rejected - gamma).sum()

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        chosen, rejected = (side.detach() for side in rewards(output, batch))
        return {
            "rewards/accuracies": mean_of((chosen > rejected).double()),
            "rewards/margins": mean_of(chosen - rejected),
        }

    return Objective(LOGPROBS, loss, lambda batch: int(batch["answers"]) // 2, batch_metrics)
