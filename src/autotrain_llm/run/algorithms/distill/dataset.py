"""Dataset items with the teacher's inputs or outputs for the rows that each item is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from autotrain_llm.data.tokenize.teacher_rows import ManyRows
from autotrain_llm.run.engine.batches import RowGroups

Collate = Callable[[Sequence[Any]], dict[str, Any]]


class TeacherInputs(Protocol):
    """The teacher's inputs or outputs, by row."""

    def gather(self, indices: Sequence[int], collate: Collate) -> dict[str, Any]:
        """Those of these rows, in this order, to be added to the rows' batch."""
        ...


@dataclass(frozen=True)
class IndexedItem:
    """An item and the indices of its rows; empty for padding items, which need no teacher."""

    item: Any
    indices: tuple[int, ...]


class IndexedDataset(Dataset[IndexedItem]):
    """Items with their row indices. It replaces the items last: whatever else reads them expects them bare."""

    def __init__(self, items: Any, teacher_inputs: TeacherInputs) -> None:
        self.items, self.teacher_inputs = items, teacher_inputs
        self.mismatches = items.mismatches

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> IndexedItem:
        groups = self.items.groups if isinstance(self.items, RowGroups) else None
        return IndexedItem(self.items[index], (index,) if groups is None else tuple(groups[index]))

    def padding_item(self, index: int) -> IndexedItem:
        return IndexedItem(self.items.padding_item(index), ())

    def collating(self, collate: Collate) -> Callable[[Sequence[IndexedItem]], dict[str, Any]]:
        """The collate function of items, given that of rows."""
        return _TeacherCollator(self.items.collating(collate), collate, self.teacher_inputs)


class _TeacherCollator:
    def __init__(
        self, collate_items: Callable[..., dict[str, Any]], collate: Collate, teacher_inputs: TeacherInputs
    ) -> None:
        self.collate_items, self.collate, self.teacher_inputs = collate_items, collate, teacher_inputs

    def __call__(self, items: Sequence[IndexedItem]) -> dict[str, Any]:
        batch = self.collate_items([indexed.item for indexed in items])
        return batch | self.teacher_inputs.gather(
            [index for indexed in items for index in indexed.indices], self.collate
        )


class TeacherRows:
    """Rows for a teacher whose inputs differ from the student's; they become a second batch, `teacher_rows`."""

    def __init__(self, rows: ManyRows) -> None:
        self.rows = rows

    def gather(self, indices: Sequence[int], collate: Collate) -> dict[str, Any]:
        rows = [self.rows[index] for index in indices]
        # All processes must run the teacher in every step, or collectives would wait forever; this row is not trained on.
        if not rows:
            ids, _ = self.rows[0]
            rows = [(ids, np.zeros(len(ids), dtype=bool))]
        return {"teacher_rows": collate(rows)}
