"""Batch order: the same for any number of processes, and after a resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from autotrain_llm.data.order import order_of_epoch
from autotrain_llm.run.engine.flat.batch import Row


class RowGroups(Dataset[list[Row]]):
    """Item i is a list of rows: one row, or several that are packed together."""

    mismatches = False

    def __init__(self, rows: Any, groups: Sequence[Sequence[int]] | None = None) -> None:
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
        """A collate function for items, given one for rows."""
        return _Collate(collate)


class BatchOrder(Sampler[list[Any]]):
    """Batches of item numbers for one of `processes`: a seeded order for each epoch, cut into steps that all processes share.

    Every item comes once in an epoch; the last step may be short, and a process for which nothing is left in it gets one item that
    contributes nothing to the loss (its number is negative), because all processes have to take part in a step. With `neighbours`, each number comes
    with that of the item before it in the step, the first with the last.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None,
        process: int = 0,
        processes: int = 1,
        neighbours: bool = False,
    ) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.process = process
        self.processes = processes
        self.neighbours = neighbours
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[Any]]:
        order = order_of_epoch(self.count, self.seed, self.epoch)
        together = self.batch_size * self.processes
        for start in range(0, self.count, together):
            step = order[start : start + together]
            before = np.roll(step, 1)
            share = -(-len(step) // self.processes)
            mine = slice(self.process * share, (self.process + 1) * share)
            numbers, others = step[mine].tolist(), before[mine].tolist()
            if not numbers:
                numbers, others = [-1 - int(step[0])], [int(before[0])]
            yield list(zip(numbers, others, strict=True)) if self.neighbours else numbers


class Batches(DataLoader[Any]):
    """Batches in their order. Never wrapped by accelerate, which would repeat rows to make all batches equal."""

    def __init__(self, items: Any, order: BatchOrder, collate: Callable[[Any], dict[str, Any]]) -> None:
        self.order = order
        super().__init__(_Numbered(items), batch_sampler=order, collate_fn=items.collating(collate))

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)


class _Numbered(Dataset[Any]):
    """Reads a negative number as a padding item, and two numbers as an item and the one it is mismatched with."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, numbers: int | tuple[int, int]) -> Any:
        index, other = numbers if isinstance(numbers, tuple) else (numbers, None)
        item = self.items[index] if index >= 0 else self.items.padding_item(-1 - index)
        return item if other is None else self.items.mismatched(item, other)


class _Collate:
    """Collates the rows of all items of a batch."""

    def __init__(self, collate: Callable[[Sequence[Row]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Sequence[Row]]) -> dict[str, Any]:
        return self.collate([row for item in items for row in item])
