"""`RowFilter`: which raw rows of a file are used at all, by the values of their columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotrain_llm.data.files.read import RawRow, Row
    from autotrain_llm.data.request import Where

MOST_VALUES = 1000  # different values of a column that are counted, for a finding


class RowFilter:
    """Passes rows in which each column of `where` has one of its values. A cell that is a list has all the values in it.

    Values are compared as they are written: 2020 is the same as the text `2020` of a CSV file. A missing cell is null. `seen` counts
    the rows, `values` those of each column with a value, by the value as text.
    """

    def __init__(self, where: Where) -> None:
        self.where = tuple((column, frozenset(map(as_written, values))) for column, values in where)
        self.seen = self.passed = 0
        self.values: dict[str, Counter[str]] = {column: Counter() for column, _ in where}
        self.columns: dict[str, None] = {}

    def __call__(self, rows: Iterable[RawRow]) -> Generator[RawRow]:
        """The rows that pass."""
        for row in rows:
            if self._passes(row[2]):
                self.passed += 1
                yield row

    def _passes(self, cells: Row) -> bool:
        self.seen += 1
        if self.seen == 1:
            self.columns.update(dict.fromkeys(cells))
        passes = True
        for column, allowed in self.where:
            cell = cells.get(column)
            written = [as_written(value) for value in (cell if isinstance(cell, list) else [cell])]
            counter = self.values[column]
            if column in cells and len(counter) < MOST_VALUES:
                counter.update(written)
            passes = passes and not allowed.isdisjoint(written)
        return passes


def as_written(value: Any) -> str:
    """A value as text: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
