"""The order of rows and their division into batches: independent of the number of processes, and the same in a resumed run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from autotrain_llm.data.order import EpochOrder, ShuffledOrder, counts_of
from autotrain_llm.data.rows import Rows
from autotrain_llm.data.tokenize.pack import Packs
from autotrain_llm.data.tokenize.prepare import Prepared
from autotrain_llm.run.engine.flat.batch import Row


class RowGroups(Dataset[list[Row]]):
    """Item i is a list of rows: a single row, or several that are packed together."""

    mismatches = False

    def __init__(self, rows: Any, groups: Packs | None = None) -> None:
        self.rows = rows
        self.groups = groups

    def __len__(self) -> int:
        return len(self.rows) if self.groups is None else len(self.groups)

    def __getitem__(self, index: int) -> list[Row]:
        members = [index] if self.groups is None else self.groups[index]
        return [self.rows[member] for member in members]

    def padding_item(self, index: int) -> list[Row]:
        """An item without trained tokens."""
        return [(ids, np.zeros(len(ids), dtype=bool)) for ids, _ in self[index]]

    def collating(self, collate: Callable[[Sequence[Row]], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        """The collate function of items, given that of rows."""
        return _Collate(collate)


def items_of_parts(items: Any, rows: Rows) -> list[int]:
    """How many items are made of each part of the rows: the sources of a mixture, which are packed separately."""
    sizes = [len(part) for part in rows.parts]
    groups = items.groups if isinstance(items, RowGroups) else None
    if groups is None:
        return [size * len(items) // len(rows) for size in sizes] if len(rows) else [0 for _ in sizes]
    return counts_of(groups.first_rows, sizes)


def training_order(items: Any, prepared: Prepared, seed: int) -> EpochOrder:
    """The order of the items of these rows: that of their mixture, otherwise all of them, shuffled in each epoch with the seed."""
    if prepared.mixture is None:
        return ShuffledOrder(len(items), seed)
    return prepared.mixture.order(items_of_parts(items, prepared.train))


class BatchOrder(Sampler[list[Any]]):
    """Batches of item indices for one of `processes`: the order of each epoch, divided into steps and each step among processes.

    The last step may be short; a process without items in it gets a padding item (a negative index),
    because all processes must take part in a step. With `neighbours`, each index is paired with that of the previous item in the step,
    the first with the last.
    """

    def __init__(
        self,
        order: EpochOrder,
        batch_size: int,
        process: int = 0,
        processes: int = 1,
        neighbours: bool = False,
    ) -> None:
        self.order = order
        self.batch_size = batch_size
        self.process = process
        self.processes = processes
        self.neighbours = neighbours
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.order) // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[Any]]:
        order = self.order.of_epoch(self.epoch)
        step_size = self.batch_size * self.processes
        for start in range(0, len(order), step_size):
            step = order[start : start + step_size]
            previous = np.roll(step, 1)
            size = -(-len(step) // self.processes)
            own = slice(self.process * size, (self.process + 1) * size)
            indices, neighbours = step[own].tolist(), previous[own].tolist()
            if not indices:  # -1 - index, because 0 has no negative
                indices, neighbours = [-1 - int(step[0])], [int(previous[0])]
            yield list(zip(indices, neighbours, strict=True)) if self.neighbours else indices


class Batches(DataLoader[Any]):
    """A loader of batches in a given order. It is not prepared by accelerate, which would repeat rows to make all batches equal."""

    def __init__(self, items: Any, order: BatchOrder, collate: Callable[[Any], dict[str, Any]]) -> None:
        self.order = order
        super().__init__(_ItemsByKey(items), batch_sampler=order, collate_fn=items.collating(collate))

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class _ItemsByKey(Dataset[Any]):
    """Items by the keys of BatchOrder: a negative index is a padding item, a pair is an item and the one it is mismatched with."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | tuple[int, int]) -> Any:
        index, other = key if isinstance(key, tuple) else (key, None)
        item = self.items[index] if index >= 0 else self.items.padding_item(-1 - index)
        return item if other is None else self.items.mismatched(item, other)


class _Collate:
    """Collates the rows of all items of a batch."""

    def __init__(self, collate: Callable[[Sequence[Row]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Sequence[Row]]) -> dict[str, Any]:
        return self.collate([row for item in items for row in item])
