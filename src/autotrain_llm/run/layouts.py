"""How rows of tokens become the model's input: one flat stream, or padded where an architecture is not known to keep rows apart.

Both give the objective the same thing: for each token to predict, its log-probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from autotrain_llm.run.flat.batch import Row, flatten
from autotrain_llm.run.flat.model import FlatOutput, prepare_model, switch

IGNORED = -100


class Layout(Protocol):
    """`collate` makes a batch of rows, with the number of its `tokens` and of the padded positions it `spared`; `forward` calls the wrapped model with it; `generating` is the model as generate() needs it."""

    name: str

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]: ...

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput: ...

    def for_generation(self, model: nn.Module, on: bool) -> None: ...


class Flat:
    """Rows as segments of one stream: no padding, attention inside each row, the head only where something is predicted."""

    name = "flat"

    def __init__(self, model: nn.Module, attention: str | None = None) -> None:
        prepare_model(model, attention)

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        batch = flatten(rows)
        batch["tokens"] = int(batch["input_ids"].numel())
        batch["spared"] = len(rows) * max(len(ids) for ids, _ in rows) - batch["tokens"]
        return batch

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        given = {key: value for key, value in batch.items() if key not in ("tokens", "spared", "target_segments")}
        return model(**given, compute=compute)

    def for_generation(self, model: nn.Module, on: bool) -> None:
        switch(model, on=not on)


class Padded:
    """Rows under one another, each padded on the right to the longest."""

    name = "padded"

    def __init__(self, pad_token: int) -> None:
        self.pad_token = pad_token

    def collate(self, rows: Sequence[Row]) -> dict[str, Any]:
        longest = max(len(ids) for ids, _ in rows)
        input_ids = np.full((len(rows), longest), self.pad_token, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)
        for number, (ids, trained) in enumerate(rows):
            length = len(ids)
            input_ids[number, :length] = ids
            mask[number, :length] = 1
            labels[number, : length - 1] = np.where(trained[1:], ids[1:], IGNORED)
        flat = labels.reshape(-1)
        positions = np.flatnonzero(flat != IGNORED)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask),
            "target_positions": torch.from_numpy(positions),
            "target_labels": torch.from_numpy(flat[positions]),
            "target_segments": torch.from_numpy(positions // longest),
            "tokens": int(mask.sum()),
            "spared": 0,
        }

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        chosen = logits.reshape(-1, logits.shape[-1]).index_select(0, batch["target_positions"])
        chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
        logprobs = torch.log_softmax(chosen, dim=-1)
        labels = batch["target_labels"]
        picked = logprobs.gather(1, labels[:, None]).squeeze(1)
        return FlatOutput(loss=-picked.sum(), logprobs=picked, correct=chosen.detach().argmax(-1) == labels)

    def for_generation(self, model: nn.Module, on: bool) -> None:
        """A padded model is as generate() needs it."""
