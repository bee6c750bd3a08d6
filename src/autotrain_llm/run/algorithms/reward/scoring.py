"""Score texts and conversations with a finished reward model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autotrain_llm.run.engine.classifiers import PaddedScores

BATCH = 16


@torch.inference_mode()
def scores(model: Any, rows: Sequence[list[int]], padding: int) -> Iterator[float]:
    """The score of each row, batch by batch. A model without a padding token gets one row at a time."""
    layout = PaddedScores(padding)
    size = BATCH if model.config.get_text_config().pad_token_id is not None else 1
    for start in range(0, len(rows), size):
        batch = layout.collate([(ids, [False] * len(ids)) for ids in rows[start : start + size]])
        batch = {
            name: held.to(model.device) if isinstance(held, torch.Tensor) else held for name, held in batch.items()
        }
        found = layout.forward(model, batch, layout.name).scores
        assert found is not None
        yield from found.tolist()
