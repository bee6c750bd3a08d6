"""Lay rows out as segments of one stream of tokens, with no padding anywhere.

A row is its token ids and, for each of them, whether it is trained on. Nothing here knows a tokenizer, an objective or a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Row = tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]
STANDS_ALONE = -1


@dataclass
class Segments:
    """Where the segments of a stream lie, and which of them continue another.

    `lengths` are in tokens, in the order of the stream. `continues[i]` is the number of an earlier segment whose tokens (and
    those it continues itself) segment i attends to as well, or -1. `built` keeps what attention derives from this once per
    batch: every layer asks for the same masks and offsets.
    """

    lengths: tuple[int, ...]
    continues: tuple[int, ...] = ()
    built: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.continues:
            self.continues = (STANDS_ALONE,) * len(self.lengths)
        if len(self.continues) != len(self.lengths):
            raise ValueError(f"{len(self.lengths)} segments, but {len(self.continues)} say what they continue")
        if any(length < 1 for length in self.lengths):
            raise ValueError("a segment needs at least one token")
        if any(not STANDS_ALONE <= parent < number for number, parent in enumerate(self.continues)):
            raise ValueError("a segment can only continue one that stands before it in the stream")

    def __getstate__(self) -> dict[str, Any]:
        """Travels to and from worker processes without what attention built on a device."""
        return {"lengths": self.lengths, "continues": self.continues, "built": {}}

    @property
    def starts(self) -> list[int]:
        """Where in the stream each segment begins."""
        starts, position = [], 0
        for length in self.lengths:
            starts.append(position)
            position += length
        return starts

    @property
    def chained(self) -> bool:
        """Whether any segment continues another."""
        return any(parent != STANDS_ALONE for parent in self.continues)

    def lineage(self, number: int) -> list[int]:
        """The segments that segment `number` attends to, oldest first, itself last."""
        line = [number]
        while (parent := self.continues[line[-1]]) != STANDS_ALONE:
            line.append(parent)
        return line[::-1]

    def depth(self, number: int) -> int:
        """The position of the first token of segment `number`: the tokens of all that it continues."""
        return sum(self.lengths[ancestor] for ancestor in self.lineage(number)[:-1])


def flatten(rows: Sequence[Row], continues: Sequence[int] | None = None) -> dict[str, Any]:
    """Collate rows into the keyword arguments of a prepared model's call.

    `rows` are pairs of token ids and a mask of equal length: which of these tokens are trained on. `continues` gives, for each
    row, the number of the earlier row that it continues, or -1. The result holds `input_ids` and `position_ids` (1, T),
    `segments`, and for each of the K tokens to predict: `target_positions`, the place in the stream whose hidden state
    predicts it, `target_labels`, the token, and `target_segments`, the row it belongs to. The first token of a row that
    continues nothing has no such place and is never a target; that of a row that continues another is predicted from the
    other's last token.
    """
    segments = Segments(tuple(len(ids) for ids, _ in rows), tuple(continues or ()))
    starts = segments.starts
    positions, where, labels, owners = [], [], [], []
    for number, (ids, trained) in enumerate(rows):
        if len(trained) != len(ids):
            raise ValueError(f"row {number}: {len(ids)} tokens, but {len(trained)} marks for what is trained on")
        depth = segments.depth(number)
        positions.append(np.arange(depth, depth + len(ids), dtype=np.int64))
        chosen = np.flatnonzero(np.asarray(trained, dtype=bool))
        parent = segments.continues[number]
        if parent == STANDS_ALONE:
            chosen = chosen[chosen > 0]
        before = starts[number] + chosen - 1
        if parent != STANDS_ALONE and chosen.size and chosen[0] == 0:
            before[0] = starts[parent] + segments.lengths[parent] - 1
        where.append(before)
        labels.append(np.asarray(ids, dtype=np.int64)[chosen])
        owners.append(np.full(chosen.size, number, dtype=np.int64))
    return {
        "input_ids": _tensor([np.asarray(ids, dtype=np.int64) for ids, _ in rows])[None],
        "position_ids": _tensor(positions)[None],
        "segments": segments,
        "target_positions": _tensor(where),
        "target_labels": _tensor(labels),
        "target_segments": _tensor(owners),
    }


def _tensor(parts: list[np.ndarray]) -> torch.Tensor:
    if not parts:
        raise ValueError("a batch needs at least one row")
    return torch.from_numpy(np.concatenate(parts).astype(np.int64, copy=False))
