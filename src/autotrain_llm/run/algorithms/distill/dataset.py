"""Items of a batch with the inputs or the cached outputs of their teacher, fetched by row index."""

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
    """What a teacher needs, or gave, for each row; `gather` adds it to a batch."""

    def gather(self, numbers: Sequence[int], collate: Collate) -> dict[str, Any]: ...


@dataclass(frozen=True)
class IndexedItem:
    """An item with the indices of its rows; a padding item has none."""

    item: Any
    numbers: tuple[int, ...]


class IndexedDataset(Dataset[IndexedItem]):
    """Items with their row indices, which the collate function fetches the teacher inputs by."""

    def __init__(self, items: Any, teacher_inputs: TeacherInputs) -> None:
        self.items, self.teacher_inputs = items, teacher_inputs
        self.mismatches = items.mismatches

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> IndexedItem:
        groups = self.items.groups if isinstance(self.items, RowGroups) else None
        return IndexedItem(self.items[number], (number,) if groups is None else tuple(groups[number]))

    def padding_item(self, number: int) -> IndexedItem:
        return IndexedItem(self.items.padding_item(number), ())

    def collating(self, collate: Collate) -> Callable[[Sequence[IndexedItem]], dict[str, Any]]:
        """The collate function for items, made of the one for rows."""
        return _TeacherCollator(self.items.collating(collate), collate, self.teacher_inputs)


class _TeacherCollator:
    def __init__(
        self, together: Callable[..., dict[str, Any]], collate: Collate, teacher_inputs: TeacherInputs
    ) -> None:
        self.together, self.collate, self.teacher_inputs = together, collate, teacher_inputs

    def __call__(self, items: Sequence[IndexedItem]) -> dict[str, Any]:
        batch = self.together([one.item for one in items])
        return batch | self.teacher_inputs.gather([number for one in items for number in one.numbers], self.collate)


class TeacherRows:
    """Rows that the teacher sees instead of the student's, as a batch of their own: `teacher_rows`."""

    def __init__(self, rows: ManyRows) -> None:
        self.rows = rows

    def gather(self, numbers: Sequence[int], collate: Collate) -> dict[str, Any]:
        rows = [self.rows[number] for number in numbers]
        if not rows:  # every process takes part in a step
            ids, _ = self.rows[0]
            rows = [(ids, np.zeros(len(ids), dtype=bool))]
        return {"teacher_rows": collate(rows)}
