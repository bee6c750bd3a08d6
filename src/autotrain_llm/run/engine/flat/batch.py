"""Lay rows out as segments of one stream of tokens, with no padding anywhere.

A row is its token ids and its loss mask. Nothing here depends on a tokenizer, an objective or a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from autotrain_llm.run.engine.flat.context_parallel import ContextParallel

Row = tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]
STANDS_ALONE = -1


@dataclass(frozen=True)
class Offsets:
    """Where n segments lie, as tensors for kernels: the cumulative lengths of their queries and of the keys that they attend to, both (n + 1,)
    int32, and the longest of each. `order` lists the stream's tokens lineage by lineage, where segments continue others. `parents`
    (n + 1,) is what each continues, after a -1 that stands for nothing; it stays on the processor.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    order: torch.Tensor | None
    parents: torch.Tensor
    longest_queries: int
    longest_keys: int

    def to(self, device: torch.device) -> Offsets:
        if self.queries.device == device:
            return self
        order = None if self.order is None else self.order.to(device, non_blocking=True)
        queries, keys = (tensor.to(device, non_blocking=True) for tensor in (self.queries, self.keys))
        return replace(self, queries=queries, keys=keys, order=order)

    def pinned(self) -> Offsets:
        """In memory that is copied to a GPU without waiting."""
        order = None if self.order is None else self.order.pin_memory()
        return replace(self, queries=self.queries.pin_memory(), keys=self.keys.pin_memory(), order=order)


@dataclass
class Segments:
    """Where the segments of a stream lie, and which of them continue another.

    `lengths` are in tokens, in the order of the stream. `continues[i]` is the index of an earlier segment whose tokens (and
    those it continues itself) segment i attends to as well, or -1. `cache` keeps what attention derives from this once per
    batch: all layers use the same masks and buffers; `offsets` is what kernels want of it, on the device of the stream. `divided` is the group of processes that divide the stream's tokens.
    """

    lengths: tuple[int, ...]
    continues: tuple[int, ...] = ()
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    divided: ContextParallel | None = field(default=None, repr=False, compare=False)
    offsets: Offsets = field(default=None, repr=False, compare=False)  # type: ignore[assignment]  # FSDP makes a copy of all fields

    def __post_init__(self) -> None:
        if not self.continues:
            self.continues = (STANDS_ALONE,) * len(self.lengths)
        if len(self.continues) != len(self.lengths):
            raise ValueError(f"{len(self.lengths)} segments, but {len(self.continues)} values in continues")
        if any(length < 1 for length in self.lengths):
            raise ValueError("a segment needs at least one token")
        if any(not STANDS_ALONE <= parent < index for index, parent in enumerate(self.continues)):
            raise ValueError("a segment can only continue an earlier one of the stream")
        if self.offsets is None:
            self.offsets = self._offsets()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the cache and the offsets, whose tensors lie on a device, and without processes."""
        return Segments, (self.lengths, self.continues)

    def _offsets(self) -> Offsets:
        starts, order = self.starts, None
        lines = [self.lineage(index) for index in range(len(starts))] if self.chained else []
        spans = [sum(self.lengths[index] for index in line) for line in lines] or list(self.lengths)
        if lines:
            tokens = [np.arange(starts[index], starts[index] + self.lengths[index]) for line in lines for index in line]
            order = torch.from_numpy(np.concatenate(tokens))
        parents = torch.tensor([STANDS_ALONE, *self.continues], dtype=torch.int32)
        return Offsets(
            _cumulative(self.lengths),
            _cumulative(spans),
            order,
            parents,
            max(self.lengths, default=0),
            max(spans, default=0),
        )

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

    def lineage(self, index: int) -> list[int]:
        """The segments that segment `index` attends to, oldest first, itself last."""
        line = [index]
        while (parent := self.continues[line[-1]]) != STANDS_ALONE:
            line.append(parent)
        return line[::-1]

    def depth(self, index: int) -> int:
        """The position of the first token of segment `index`: the tokens of all that it continues."""
        return sum(self.lengths[ancestor] for ancestor in self.lineage(index)[:-1])


def flatten(rows: Sequence[Row], continues: Sequence[int] | None = None) -> dict[str, Any]:
    """Collate rows into the keyword arguments of a prepared model's call.

    `rows` are pairs of token ids and a loss mask of equal length. `continues` gives, for each row, the index of the earlier row that it
    continues, or -1. The result holds `input_ids` and `position_ids` (1, T), `segments`, and for each of the K targets:
    `target_positions`, the index in the stream whose hidden state predicts it, `target_labels`, its id, and `target_segments`, the
    index of its row. The first token of a row that continues nothing is never a target; that of a row that continues another is
    predicted from the other's last token.
    """
    segments = Segments(tuple(len(ids) for ids, _ in rows), tuple(continues or ()))
    starts = segments.starts
    positions, target_positions, target_labels, target_segments = [], [], [], []
    for index, (ids, loss_mask) in enumerate(rows):
        if len(loss_mask) != len(ids):
            raise ValueError(f"row {index}: {len(ids)} tokens, but a loss mask of {len(loss_mask)}")
        depth = segments.depth(index)
        positions.append(np.arange(depth, depth + len(ids), dtype=np.int64))
        targets = np.flatnonzero(np.asarray(loss_mask, dtype=bool))
        parent = segments.continues[index]
        if parent == STANDS_ALONE:
            targets = targets[targets > 0]
        sources = starts[index] + targets - 1
        if parent != STANDS_ALONE and targets.size and targets[0] == 0:
            sources[0] = starts[parent] + segments.lengths[parent] - 1
        target_positions.append(sources)
        target_labels.append(np.asarray(ids, dtype=np.int64)[targets])
        target_segments.append(np.full(targets.size, index, dtype=np.int64))
    return {
        "input_ids": _tensor([np.asarray(ids, dtype=np.int64) for ids, _ in rows])[None],
        "position_ids": _tensor(positions)[None],
        "segments": segments,
        "target_positions": _tensor(target_positions),
        "target_labels": _tensor(target_labels),
        "target_segments": _tensor(target_segments),
    }


def _cumulative(lengths: Sequence[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


def _tensor(parts: list[np.ndarray]) -> torch.Tensor:
    if not parts:
        raise ValueError("a batch needs at least one row")
    return torch.from_numpy(np.concatenate(parts).astype(np.int64, copy=False))
