"""Score texts and conversations with a finished reward model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autotrain_llm.run.engine.ahead import moved
from autotrain_llm.run.engine.classifiers import PaddedScores

BATCH = 16


@torch.inference_mode()
def scores(model: Any, rows: Sequence[list[int]], padding: int) -> Iterator[list[float]]:
    """The scores of each row, one for each output, in batches. Without a padding token the model can't find a padded row's end: it gets one row at a time."""
    layout = PaddedScores(padding)
    size = BATCH if model.config.get_text_config().pad_token_id is not None else 1
    for start in range(0, len(rows), size):
        batch = layout.collate([(ids, [False] * len(ids)) for ids in rows[start : start + size]])
        batch_scores = layout.forward(model, moved(batch, model.device), layout.name).scores
        assert batch_scores is not None
        yield from batch_scores.reshape(len(rows[start : start + size]), -1).tolist()
