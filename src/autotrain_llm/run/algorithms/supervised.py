"""The recipe of sft and generic: next-token prediction on rows of tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from autotrain_llm.data.load.row_stream import RowStream
from autotrain_llm.data.tokenize.buffers import BufferPreparer
from autotrain_llm.declare.finding import Finding
from autotrain_llm.run.algorithms.recipe import Recipe, Started
from autotrain_llm.run.engine.embedding_noise import add_embedding_noise
from autotrain_llm.run.engine.group import AllReduceSum
from autotrain_llm.run.engine.layouts import TARGET_WEIGHTS
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.loop import BatchAugmenter, BatchSource, Loop, Observer
from autotrain_llm.run.engine.objective import Objective, next_token
from autotrain_llm.run.engine.streaming import StreamedBatches, StreamSettings


class NextToken(Recipe):
    """Cross entropy of the trained tokens, of which chosen ones can weigh more."""

    stream: StreamedBatches | None = None

    def make_objective(self) -> Objective:
        return next_token()

    def prepare(self, loaded: Loaded) -> None:
        super().prepare(loaded)
        alpha = self.plan.objective.settings.get("neftune_alpha")
        if alpha:
            add_embedding_noise(loaded.model, alpha)

    def make_source(self, started: Started) -> tuple[BatchSource | None, list[Observer]]:
        plan, inputs = self.plan, self.inputs
        if plan.data.streaming is None or inputs.stream is None:
            return super().make_source(started)
        settings = StreamSettings(
            buffer=plan.data.streaming.buffer,
            pack_length=(plan.layout.pack_tokens or plan.length.tokens) if plan.layout.packing else None,
            batch_size=plan.schedule.batch_size,
            seed=plan.arguments.data_seed,
        )
        open_stream = partial(RowStream, inputs.stream.request, plan.data.samples)
        preparer = BufferPreparer(inputs.dataset, inputs.tokenizer, inputs.stream.preparation)
        self.stream = StreamedBatches(open_stream, preparer, settings, started.layout.collate)
        if started.checkpoint is not None and started.step is not None:
            self.stream.restore(started.checkpoint, started.step)
        return self.stream, []

    def observations(self) -> tuple[Finding, ...]:
        return () if self.stream is None else self.stream.findings()

    def outcome(self) -> dict[str, Any]:
        return super().outcome() | ({} if self.stream is None else {"stream": self.stream.counts()})

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

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: AllReduceSum) -> dict[str, Any]:
        """The batch with `target_weights` (K,) while the model is trained."""
        if not model.training:
            return batch
        is_chosen = batch["target_labels"][:, None] == self.ids
        weights = 1 + (is_chosen * (self.weights - 1)).sum(-1)
        return {**batch, TARGET_WEIGHTS: weights}
