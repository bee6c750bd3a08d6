"""Rows with lists of chosen or of rejected answers, as a row for each pair of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.column_names import CHOSEN, REJECTED
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.turns import is_conversation, parsed


@dataclass(frozen=True)
class AnswerLists:
    """The columns of chosen and of rejected answers, of which those in `lists` hold several in a cell. `every_pair`: each answer of one side is
    compared with each of the other; else with the one at its place, or with the only one."""

    sides: tuple[str, str]
    lists: tuple[str, ...]
    every_pair: bool

    @property
    def how(self) -> str:
        """How pairs are made, in words."""
        if len(self.lists) < 2:
            return f"each answer of {self.lists[0]} is a row of its own"
        first, second = self.lists
        if self.every_pair:
            return f"each answer of {first} is compared with each of {second}, as a row of its own"
        how = f"each answer of {first} and of {second} is a row of its own"
        return f"{how}, with the one at the same place of the other, or with its only one"

    def rows_of(self, row: Row) -> Iterator[Row]:
        """The rows of pairs that one row holds; a side without an answer stays as it is."""
        answers = [self._answers(row, side) for side in self.sides]
        pairs = product(*answers) if self.every_pair else _by_place(*answers)
        for pair in pairs:
            yield row | dict(zip(self.sides, pair, strict=True))

    def _answers(self, row: Row, side: str) -> list[Any]:
        cell = row.get(side)
        return (answers_in(cell) if side in self.lists else None) or ["" if cell == [] else cell]


def _by_place(chosen: list[Any], rejected: list[Any]) -> Iterator[tuple[Any, Any]]:
    """The answers at the same places of two lists, of which one may have a single answer; None beyond the end of a list."""
    most = max(len(chosen), len(rejected))
    return zip_longest(*(answers * most if len(answers) == 1 else answers for answers in (chosen, rejected)))


def answers_in(cell: Any) -> list[Any] | None:
    """The answers in a cell: a list of texts or of conversations, also as JSON; None for anything else."""
    cell = parsed(cell)
    if not isinstance(cell, list) or is_conversation(cell):
        return None
    are_answers = all(isinstance(part, str) for part in cell) or all(
        isinstance(part, list) and is_conversation(part) for part in cell
    )
    return cell if are_answers else None


def lists_of_answers(columns: Columns, chosen: str | None, rejected: str | None) -> AnswerLists | None:
    """How pairs are made of the columns of chosen and rejected answers, under these or their usual names; None where neither holds lists."""
    found = (chosen or columns.find(CHOSEN), rejected or columns.find(REJECTED))
    sides = tuple(side for side in found if side is not None and columns.values.get(side))
    if len(sides) < 2 or sides[0] == sides[1]:
        return None
    lists = tuple(side for side in sides if all(answers_in(cell) is not None for cell in columns.values[side]))
    others = [side for side in sides if side not in lists]
    if not lists or any(columns.kind(side) not in ("text", "turns", "written turns") for side in others):
        return None
    sizes = [[len(answers_in(row.get(side)) or [None]) for side in lists] for row in columns.rows]
    if all(size == 1 for of_row in sizes for size in of_row) and all(columns.kind(side) == "list" for side in lists):
        return None  # one answer in each cell, which is read as such
    every_pair = any(len({*of_row} - {1}) > 1 for of_row in sizes)
    return AnswerLists((sides[0], sides[1]), lists, every_pair)
