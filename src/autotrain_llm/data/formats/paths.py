"""What is inside the objects of a row, under names such as `request.body` and `answers.0.text`: keys, and numbers of items, with dots between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.column_names import ORIGIN, WORDS_OF_A_TITLE, is_phrase, words_of

DEPTH = 4  # of objects within objects whose keys have names


def value_at(row: Row, path: str) -> Any:
    """The value under a path; None if there is none. A column whose own name has dots in it comes first."""
    if path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def paths_of(row: Row) -> Iterator[str]:
    """The columns of a row, and after each what is inside its objects, and inside the first item of its lists of objects."""
    for name, value in row.items():
        yield from _paths(str(name), value, DEPTH)


def _paths(name: str, value: Any, depth: int) -> Iterator[str]:
    yield name
    if not depth:
        return
    if isinstance(value, dict):
        for key, part in value.items():
            if isinstance(key, str) and key and "." not in key:
                yield from _paths(f"{name}.{key}", part, depth - 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _paths(f"{name}.0", value[0], depth)


def phrases_in(row: Row) -> list[str]:
    """The columns of a row, and the paths in its objects, with a text of several words that says more than where the row is from."""
    paths = [path for path in paths_of(row) if ".0" not in path and not ORIGIN.search("_".join(words_of(path)))]
    values = {path: value_at(row, path) for path in paths}
    return [path for path, value in values.items() if isinstance(value, str) and is_phrase(value, WORDS_OF_A_TITLE)]


def lifted(row: Row, paths: Sequence[str]) -> Row:
    """A row with a column for each path, taken out of the object that it is in: what is left of the object is still there, to be named."""
    inside = {path: value_at(row, path) for path in paths if path not in row}
    rest = row
    for path in inside:
        rest = _without(rest, path.split("."))
    return {**rest, **inside}


def _without(value: Any, keys: Sequence[str]) -> Any:
    """A value without what is under these keys."""
    first, *others = keys
    if isinstance(value, dict) and first in value:
        if not others:
            return {key: part for key, part in value.items() if key != first}
        return {**value, first: _without(value[first], others)}
    if isinstance(value, list) and first.isdecimal() and int(first) < len(value):
        # The items after it keep their numbers.
        changed = _without(value[int(first)], others) if others else None
        return [changed if at == int(first) else part for at, part in enumerate(value)]
    return value
