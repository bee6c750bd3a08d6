"""Pairs laid out for a model that scores them: one flat stream, or padded for encoders and whatever is not known to keep rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.flat.classifier import prepare_classifier
from autotrain_llm.run.engine.flat.model import FlatOutput
from autotrain_llm.run.engine.layouts import Family, Flat, Padded

OF_THE_CALL = ("input_ids", "position_ids", "segments", "ends")


class FlatScores(Flat):
    """Answers as segments of one stream, each scored at its last token."""

    def __init__(self, model: nn.Module, pad_token: int, attention: str | None = None) -> None:
        prepare_classifier(model, attention)
        self.pad_token = pad_token

    def collate(self, items: Sequence[Row] | Sequence[Family]) -> dict[str, Any]:
        batch = super().collate(items)
        starts, lengths = batch["segments"].starts, batch["segments"].lengths
        ids = batch["input_ids"][0]
        rows = batch["answer_rows"].tolist()
        batch["ends"] = torch.tensor(
            [starts[row] + _last(ids[starts[row] : starts[row] + lengths[row]], self.pad_token) for row in rows],
            dtype=torch.int64,
        )
        return batch

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        return model(**{name: batch[name] for name in OF_THE_CALL})


class PaddedScores(Padded):
    """Answers under one another, each padded on the right; the model's own forward scores them."""

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        scores = scores.index_select(0, batch["answer_rows"])
        return FlatOutput(scores=scores if scores.dtype == torch.float64 else scores.float())


def _last(ids: torch.Tensor, pad_token: int) -> int:
    """The place of the last token that is not the padding token, where transformers' classifiers read their score."""
    places = torch.nonzero(ids != pad_token)
    return int(places[-1]) if len(places) else len(ids) - 1
