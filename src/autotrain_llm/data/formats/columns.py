"""The columns of some rows: their names, and the kind of value that each holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from autotrain_llm.data.files.read import LOOKED_AT
from autotrain_llm.data.formats.column_names import is_metadata
from autotrain_llm.data.formats.messages import spelling
from autotrain_llm.data.formats.segments import SEGMENTS, is_segments
from autotrain_llm.data.turns import is_alternating, is_conversation, is_written_conversation
from autotrain_llm.data.wording import plain

WORDS_OF_A_TEXT, LETTERS_OF_A_TEXT = 4, 8  # on average


class Columns:
    """The columns of some rows: their names, and what kind of value each holds."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.rows = [row for _, row in zip(range(LOOKED_AT), rows, strict=False)]
        self.values: dict[str, list[Any]] = {}
        self.first_row: dict[str, int] = {}  # by column, the first row that holds something
        for number, row in enumerate(self.rows, 1):
            for name, value in row.items():
                values = self.values.setdefault(name, [])
                if value is not None and value != "":
                    values.append(value)
                    self.first_row.setdefault(name, number)
        self._by_plain: dict[str, str] = {}
        for name in self.values:
            self._by_plain.setdefault(plain(name), name)
        self._kinds: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The names as they are in the file, in its order."""
        return list(self.values)

    def find(self, names: Sequence[str], *kinds: str) -> str | None:
        """The first column under one of these names that holds one of these kinds of value."""
        for name in names:
            column = self._by_plain.get(name)
            if column is not None and (not kinds or self.kind(column) in kinds):
                return column
        return None

    def kind(self, column: str) -> str:
        """`text`, `turns`, `written turns` (text that is turns in every cell), `texts` (lists of them), `segments`, `flag`, `list`, `number`,
        `object`, or `nothing` where every cell is empty."""
        if column not in self._kinds:
            self._kinds[column] = _kind(self.values[column])
        return self._kinds[column]

    def spelling(self, column: str) -> str:
        """`messages` or `sharegpt`."""
        return spelling(next((value for value in self.values[column] if value), None))

    def holds_no_words(self, column: str) -> bool:
        """Whether a column holds numbers, true and false, lists of these, or nothing."""
        parts = [part for value in self.values[column] for part in (value if isinstance(value, list) else [value])]
        return all(part is None or isinstance(part, int | float) for part in parts)

    def holds_ids(self, column: str) -> bool:
        """Whether every cell is a list of whole numbers, such as token ids."""
        values = self.values[column]
        return bool(values) and all(
            isinstance(value, list) and bool(value) and all(type(part) is int for part in value) for value in values
        )

    def texts(self) -> list[str]:
        """The columns that hold text."""
        return [name for name in self.names if self.kind(name) == "text"]

    def items(self, column: str) -> list[Any]:
        """What is in the lists of a column, those of all rows."""
        return [item for value in self.values[column] if isinstance(value, list) for item in value]

    def size(self, column: str) -> int:
        """How much a column holds, in characters; 0 if there is no such column."""
        return sum(len(str(value)) for value in self.values.get(column, ()))

    def only_sorts(self, column: str) -> bool:
        """Whether a column only identifies or sorts the rows."""
        return all(is_metadata(column, value) for value in self.values[column])

    def is_prose(self, column: str) -> bool:
        """Whether the texts of a column have several words on average, or as many letters of a script without spaces, as names, tags and titles don't."""
        texts = [value for value in self.values[column] if isinstance(value, str) and value.strip()]
        words = sum(len(text.split()) for text in texts)
        letters = sum(len(text) for text in texts if not text.isascii())
        return words >= WORDS_OF_A_TEXT * len(texts) or letters >= LETTERS_OF_A_TEXT * len(texts)


def _kind(values: list[Any]) -> str:
    if not values:
        return "nothing"
    if any(is_conversation(value) for value in values[:5]):
        return "turns"
    if sum(isinstance(value, str) for value in values) * 2 >= len(values):
        return "written turns" if all(map(is_written_conversation, values)) else "text"
    first = values[0]
    if all(map(is_segments, values)):
        return SEGMENTS
    if isinstance(first, bool):
        return "flag"
    if isinstance(first, list) and any(map(is_alternating, values)) and all(map(_holds_texts, values)):
        return "texts"
    return {list: "list", dict: "object", int: "number", float: "number"}.get(type(first), "other")


def _holds_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)
