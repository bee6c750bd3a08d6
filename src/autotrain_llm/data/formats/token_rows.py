"""Rows that are tokens already: `input_ids`, and which of them are trained on. Columns of padding are taken out.

A token is trained on if all columns that say so agree: `labels` that are not -100, as transformers has them, and masks, as TRL writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, islice, pairwise
from typing import Any

from autotrain_llm.data.example import Example
from autotrain_llm.data.formats.cells import Cells
from autotrain_llm.data.formats.column_names import ATTENTION_MASK, TOKEN_IDS, TOKEN_LABELS, TOKEN_MASK, TOKENISED
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.observations import RowUnusable
from autotrain_llm.data.rules.columns import a_cell_is_empty, a_cell_is_null
from autotrain_llm.data.rules.token_rows import (
    labels_are_not_the_ids,
    lists_of_a_row_differ_in_length,
    several_texts_are_in_one_row,
    the_values_of_a_token_row_are_not_allowed,
)
from autotrain_llm.data.turns import parsed
from autotrain_llm.data.wording import shown

TOKENS = "tokens"  # the name of the format
TRAINED_AS_TOKENS = ("documents", "conversations")  # the shapes of rows that may be tokens
IDS, LABELS, MASK, ATTENTION, POSITIONS = "input_ids", "labels", "loss mask", "attention mask", "positions"
NOT_TRAINED = -100  # the label of a token that is not trained on, as in transformers


def token_columns(columns: Columns, named: str | None, ignored: Sequence[str]) -> dict[str, str] | None:
    """The column of each role of rows that are tokens; None if no column holds ids. `named` is the column that the user names."""

    def integers(names: Sequence[str]) -> list[str]:
        found = (columns.find((name,), "list", "text") for name in names)
        return [name for name in found if name is not None and name not in ignored and _holds_integers(columns, name)]

    ids = [named] if named is not None and _holds_ids(columns, named) else integers(TOKEN_IDS)
    if not ids or (named is not None and ids != [named]):
        return None
    roles = {IDS: ids[0]}
    masks = [name for name in integers(TOKEN_MASK) if name not in ids]
    roles |= {f"{MASK} {at}" if at > 1 else MASK: name for at, name in enumerate(masks, 1)}
    others = ((LABELS, TOKEN_LABELS), (ATTENTION, ATTENTION_MASK), (POSITIONS, ("position_ids",)))
    return roles | {role: found[0] for role, names in others if (found := integers(names))}


def holds_token_ids(columns: Columns) -> str | None:
    """The name of a column of token ids under a usual name; None if there is none. A pair has three, as `prompt_input_ids`."""
    pairs = ("prompt_input_ids", "chosen_input_ids", "rejected_input_ids")
    names = (columns.find((name,), "list", "text") for name in (*TOKEN_IDS, *pairs, *TOKENISED))
    return next((name for name in names if name is not None and _holds_ids(columns, name)), None)


def _holds_ids(columns: Columns, name: str) -> bool:
    """Whether the cells are lists of whole numbers; a list of true and false says something else."""
    return _holds_integers(columns, name) and not any(isinstance(cell[0], bool) for cell in _first_lists(columns, name))


def _holds_integers(columns: Columns, name: str) -> bool:
    """Whether the cells are lists of whole numbers, also as text in JSON. Numbers inside a second list are those of a batch."""
    first = [cell[0] if _is_batch(cell) else cell for cell in _first_lists(columns, name)]
    return bool(first) and all(isinstance(cell[0], int | float) for cell in first)


def _first_lists(columns: Columns, name: str) -> list[list[Any]]:
    """The first lists in a column that hold anything."""
    lists = (cell for cell in map(parsed, columns.values.get(name, ())) if isinstance(cell, list) and cell)
    return list(islice(lists, 5))


def _is_batch(cell: list[Any]) -> bool:
    return len(cell) == 1 and isinstance(cell[0], list) and bool(cell[0])


def read_tokens(example: Example, cells: Cells) -> None:
    """Set the ids of a row, and which of them are trained on. Raises RowUnusable."""
    ids = _integers(cells, IDS)
    trained: list[bool] | None = None
    for role in [role for role in cells.columns if role == LABELS or role.startswith(MASK)]:
        if cells.take(role) is None:
            raise RowUnusable(a_cell_is_null, column=cells.columns[role])
        values = _beside(cells, role, ids)
        mask = _of_labels(cells, values, ids) if role == LABELS else [bool(value) for value in values]
        trained = mask if trained is None else [one and other for one, other in zip(trained, mask, strict=True)]
    positions = _integers(cells, POSITIONS) if cells.take(POSITIONS) is not None else []
    if cells.take(ATTENTION) is not None:
        attended = _beside(cells, ATTENTION, ids)
        ids, positions = list(compress(ids, attended)), list(compress(positions, attended))
        trained = None if trained is None else list(compress(trained, attended))
    if not ids:
        raise RowUnusable(a_cell_is_empty, column=cells.columns[IDS])
    if any(position < before for before, position in pairwise(positions)):
        facts = {"column": shown(cells.columns[POSITIONS]), "value": 0}
        raise RowUnusable(several_texts_are_in_one_row, ("several", POSITIONS), **facts)
    example.input_ids, example.loss_mask = ids, trained


def _integers(cells: Cells, role: str) -> list[int]:
    """The whole numbers in a cell."""
    column = cells.columns[role]
    value = parsed(cells.take(role))
    if value is None:
        raise cells.missing(column) if cells.row.get(column) is None else RowUnusable(a_cell_is_empty, column=column)
    if isinstance(value, list) and _is_batch(value):
        value = value[0]
    if not isinstance(value, list):
        raise RowUnusable(the_values_of_a_token_row_are_not_allowed, "kind", column=shown(column), case="no list")
    for at, item in enumerate(value):
        if type(item) is not int:
            if not isinstance(item, bool | float) or item != int(item):
                facts = {"column": shown(column), "case": "no integer", "value": item, "place": at}
                raise RowUnusable(the_values_of_a_token_row_are_not_allowed, ("integer", column), **facts)
            return [int(item) if isinstance(item, bool | float) and item == int(item) else item for item in value]
    return value


def _beside(cells: Cells, role: str, ids: list[int]) -> list[int]:
    """The numbers of a column that has one for each id; those of a mask are 0 and 1."""
    values, column = _integers(cells, role), cells.columns[role]
    if len(values) != len(ids):
        facts = {"column": shown(column), "items": len(values), "ids": len(ids)}
        raise RowUnusable(lists_of_a_row_differ_in_length, ("length", column), **facts)
    if role != LABELS and not {*values} <= {0, 1}:
        at, value = next((at, value) for at, value in enumerate(values) if value not in (0, 1))
        if role == ATTENTION and min(values) >= 0:
            raise RowUnusable(several_texts_are_in_one_row, ("several", column), column=shown(column), value=value)
        facts = {"column": shown(column), "case": "no mask", "value": value, "place": at}
        raise RowUnusable(the_values_of_a_token_row_are_not_allowed, ("mask", column), **facts)
    return values


def _of_labels(cells: Cells, labels: list[int], ids: list[int]) -> list[bool]:
    """Which tokens are trained on, by labels that repeat their ids."""
    trained = [label != NOT_TRAINED for label in labels]
    differs = next((at for at, label in enumerate(labels) if trained[at] and label != ids[at]), None)
    if differs is None:
        return trained
    following = [*ids[1:], NOT_TRAINED]
    is_shifted = all(label in (NOT_TRAINED, other) for label, other in zip(labels[:-1], following[:-1], strict=True))
    facts = {"column": shown(cells.columns[LABELS]), "place": differs, "label": labels[differs], "id": ids[differs]}
    raise RowUnusable(labels_are_not_the_ids, ("labels", is_shifted), is_shifted=is_shifted, **facts)
