"""Rows that lie inside others: in lists of a column, or in the objects of a column that wraps each row."""

from __future__ import annotations

from typing import Any

from autotrain_llm.data.files.read import ROW_KEYS
from autotrain_llm.data.formats.column_names import HISTORY, MESSAGES, is_metadata, words_of
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.detect import has_answer
from autotrain_llm.data.turns import exchange_keys
from autotrain_llm.data.wording import plain

NESTED_ROWS = {"paragraphs": "qas", "qas": "question"}  # by the column, a key of each of its rows
INPUT_AND_OUTPUT = (("input", "output"), ("input", "response"), ("input", "completion"), ("input", "answer"))


def nested_rows(columns: Columns) -> str | None:
    """A column whose lists hold the rows, as `paragraphs` and `qas` of SQuAD's files do, and `instances` of an instruction."""
    for name, key in NESTED_ROWS.items():
        column = columns.find((name,), "list")
        cells = columns.values[column] if column is not None else []
        if cells and all(isinstance(part, dict) and key in part for cell in cells for part in cell):
            return column
    return _examples_of_an_instruction(columns) or _table(columns)


def _table(columns: Columns) -> str | None:
    """The only column of lists of questions with answers that are rows of a table, and no conversation: each has an id of its own, or the list has a
    name of tables. (A conversation's exchanges have neither; those of a `user` or `human` are one.)"""
    found = []
    for name in columns.names:
        lists = [cell for cell in columns.values[name] if isinstance(cell, list) and cell]
        keys = [(keys, part) for cell in lists for part in cell if (keys := exchange_keys(part)) is not None]
        parts, questions = [part for _, part in keys], {plain(question) for (question, _), _ in keys}
        if plain(name) in (*MESSAGES, *HISTORY) or len(parts) < 2 or questions & {"human", "user"}:
            continue
        if (plain(name) in ROW_KEYS and not has_answer(columns)) or _have_ids(parts):
            found.append(name)
    return found[0] if len(found) == 1 else None


def _have_ids(parts: list[dict[str, Any]]) -> bool:
    """Whether each of these objects has an id that no other one has."""
    names = [key for key in parts[0] if words_of(key)[-1:] == ["id"] and words_of(key)[0] != "turn"]
    return any(len({str(part.get(name)) for part in parts}) == len(parts) for name in names)


def _examples_of_an_instruction(columns: Columns) -> str | None:
    """The only column of lists of objects, each with an input and its output, where the instruction to all of them stands beside the list."""
    instruction = columns.find(("instruction", "definition"), "text", "list", "texts")
    if instruction is None or has_answer(columns):
        return None
    found = []
    for name in columns.names:
        cells = columns.values[name]
        parts = columns.items(name)
        if plain(name) in (*MESSAGES, *HISTORY) or not parts or not all(isinstance(cell, list) for cell in cells):
            continue
        if all(isinstance(part, dict) and _has_input_and_output(part) for part in parts) and "example" not in plain(
            name
        ):
            found.append(name)
    return found[0] if len(found) == 1 else None


def _has_input_and_output(part: dict[str, Any]) -> bool:
    """Whether an object has an input and its output, which may be a list of several."""
    firsts = {key: value[0] if isinstance(value, list) and value else value for key, value in part.items()}
    return exchange_keys(firsts) in INPUT_AND_OUTPUT


def takes_less(columns: Columns, wrapper: str) -> bool:
    """Whether an object beside this one has as much text in it, or nearly: then a text that is taken out of one of them is half of the row."""
    others = [name for name in columns.names if name != wrapper and columns.kind(name) == "object"]
    return any(columns.size(name) * 2 > columns.size(wrapper) for name in others)


def wrappers(columns: Columns) -> list[str]:
    """Columns that may hold whole rows: an object in each cell, and no other columns but those that only identify or sort the row."""
    objects = [name for name in columns.names if columns.kind(name) == "object"]
    return [
        name
        for name in objects
        if len(columns.values[name]) == len(columns.rows)
        and all(other == name or all(is_metadata(other, value) or not isinstance(value, str) for value in columns.values[other])
                for other in columns.names)
    ]  # fmt: skip
