"""Keys of turns that were not read and tell turns of one role apart, whatever they are called: `deleted`, `"public": false`, a status. It takes the
turns of all rows to see it; one turn doesn't say whether its key is a mark or the same everywhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.data.example import Example
from autotrain_llm.data.formats.column_names import JUDGES, ORIGIN, words_of
from autotrain_llm.data.formats.messages import Unread

MARK = re.compile(r"[^\W\d_]+(?:[ _/-]+[^\W\d_]+){0,3}")  # a few words; an id, a date or the name of a model has digits
LONGEST, MOST = 40, 12  # characters of a mark, and different ones
TURNS_OF_A_MARK = 2  # on average


@dataclass
class _Key:
    """A key in turns of one role: how many turns have each of its values, and the first row with another value than the first one's."""

    values: Counter[str]
    first: Any
    at: Example
    is_mark: bool = True


@dataclass
class TurnKeys:
    """What was left of the turns in one column."""

    turns: Counter[str] = field(default_factory=Counter)
    keys: dict[tuple[str, str], _Key] = field(default_factory=dict)

    def add(self, unread: Unread, example: Example) -> None:
        """Record the turns of one row."""
        self.turns.update(message["role"] for message in unread.messages)
        for role, rest in unread.left:
            for name, value in rest.items():
                key = self.keys.setdefault((role, name), _Key(Counter(), value, example))
                if key.is_mark:
                    self._look(key, value, example)

    def _look(self, key: _Key, value: Any, example: Example) -> None:
        key.is_mark = _is_mark(value) and len(key.values) <= MOST
        if not key.values.keys() <= {str(value)} and len(key.values) == 1:
            key.first, key.at = value, example
        key.values[str(value)] += 1

    def telling(self) -> Iterator[tuple[str, Any, Example]]:
        """The keys that tell turns of one role apart, with a value and a row that has it."""
        names = set[str]()
        for (role, name), key in self.keys.items():
            seen = key.values.total()
            differs = len(key.values) > 1 or seen < self.turns[role]
            comes_again = isinstance(key.first, bool | int) or len(key.values) * TURNS_OF_A_MARK <= max(seen, 2)
            if key.is_mark and differs and comes_again and name not in names and not _is_origin(name):
                names.add(name)
                yield name, key.first, key.at


def _is_origin(name: str) -> bool:
    """Whether a name says where a turn is from; the state or the quality of one is a mark."""
    words = "_".join(words_of(name))
    return ORIGIN.search(words) is not None and JUDGES.search(words) is None and words != "state"


def _is_mark(value: Any) -> bool:
    """Whether a value can be that of a mark: true or false, or a few words."""
    if isinstance(value, str):
        return len(value) <= LONGEST and MARK.fullmatch(value.strip()) is not None
    return value in (-1, 0, 1)
