"""The recipe of sft and generic: next-token prediction on rows of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autotrain_llm.run.algorithms.recipe import Recipe, Started
from autotrain_llm.run.engine.layouts import TARGET_WEIGHTS
from autotrain_llm.run.engine.loop import BatchAugmenter, Loop
from autotrain_llm.run.engine.objective import Objective, next_token


class NextToken(Recipe):
    """Cross entropy of the trained tokens, of which chosen ones can weigh more."""

    def make_objective(self) -> Objective:
        return next_token()

    def make_augmenters(self, started: Started) -> list[BatchAugmenter]:
        chosen = self.plan.objective.settings["token_weights"]
        if not chosen:
            return super().make_augmenters(started)
        ids = {text: self.inputs.tokenizer.single_token(text) for text in chosen}
        weights = {token_id: float(chosen[text]) for text, token_id in ids.items() if token_id is not None}
        return [*super().make_augmenters(started), WeightedTokens(weights)]


class WeightedTokens:
    """Adds to each training batch the weights of its targets: `weights` are those of token ids, all other tokens have weight 1.

    The loss is the sum of the targets' weighted cross entropies, divided by their number and not by the sum of the weights: a token without
    a weight of its own is trained on as it would be without any. Evaluation batches get no weights, so that the loss of a model does not
    depend on how it was trained.
    """

    stage: str | None = None

    def __init__(self, weights: dict[int, float]) -> None:
        self.ids = torch.tensor(list(weights))
        self.weights = torch.tensor(list(weights.values()))

    def prepare(self, loop: Loop) -> None:
        """Move the weights to the device."""
        self.ids, self.weights = self.ids.to(loop.args.device), self.weights.to(loop.args.device)

    def augment(
        self, batch: dict[str, Any], model: nn.Module, over_processes: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any]:
        """The batch with `target_weights` (K,) while the model is trained."""
        if not model.training:
            return batch
        is_chosen = batch["target_labels"][:, None] == self.ids
        weights = 1 + (is_chosen * (self.weights - 1)).sum(-1)
        return {**batch, TARGET_WEIGHTS: weights}
