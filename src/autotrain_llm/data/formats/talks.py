"""Conversations that lie anywhere in a row and under any keys: a list of objects that say by turns who speaks and what, or the turns of a request
beside the turn that answers them. Who is the assistant is told from all rows together; where the rows don't say it, nothing is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.cells import is_empty
from autotrain_llm.data.formats.column_names import SYSTEM, TOOL_CONFIG, TOOLS, is_phrase
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.paths import lifted, paths_of, value_at
from autotrain_llm.data.turns import (
    CONTENT_KEYS,
    ROLE_KEYS,
    ROLES,
    SPEAKERS,
    as_spoken,
    awaits_answer,
    content_key,
    is_conversation,
    is_turn,
    parsed,
    speaker_of,
    turns_inside,
)
from autotrain_llm.data.wording import plain

SPOKEN = (*CONTENT_KEYS, "utterance", "body")
OBSERVED = ("observation", "observations")  # what tools answered to the calls of the same step
RESULT_KEYS = ("results", "content", "output")
# Keys that may say who speaks, in names or numbers that nobody knows.
SPEAKER_KEY = re.compile(
    r"(?:role|from|source|name|who|author|sender|user|speaker|participant|poster)(?:_?(?:id|name|idx|type))?"
)
MOST = 0.9  # of the items of lists, which say who speaks
ENOUGH = 0.8  # of the rows, which have the list


@dataclass(frozen=True)
class Talk:
    """A list of turns in each row: where it is, which keys say who speaks and what, and the role of each speaker."""

    path: str
    role_key: str
    content_key: str
    roles: Mapping[str, str]

    def row(self, row: Row) -> Row:
        """The row with the turns in a column of their own, each with role and content; its other keys are kept, so that they can be read or named."""
        turns = parsed(value_at(row, self.path))
        if not isinstance(turns, list):
            return row
        written = [turn for one in turns for turn in self._turns(_as_item(one))]
        return lifted(row, [self.path]) | {self.path: written}

    def _turns(self, one: Any) -> Iterator[Any]:
        if not isinstance(one, dict) or not isinstance(one.get(self.role_key), str):
            yield one
            return
        rest = {key: value for key, value in one.items() if key not in (self.role_key, self.content_key)}
        observed = next((rest.pop(key) for key in OBSERVED if not is_empty(rest.get(key))), None)
        role = self.roles.get(_word(one[self.role_key]), one[self.role_key])
        yield {"role": role, "content": one.get(self.content_key), **rest}
        for result in _results(observed):
            yield {"role": "tool", **result}


def _results(observed: Any) -> Iterator[dict[str, Any]]:
    """The contents of what tools answered, with the calls that they answer."""
    inner = next((observed[key] for key in RESULT_KEYS if isinstance(observed, dict) and key in observed), observed)
    for result in inner if isinstance(inner, list) else [] if inner is None else [inner]:
        if isinstance(result, dict) and "content" in result:
            rest = {key: value for key, value in result.items() if key != "source_call_id"}
            yield rest | ({"tool_call_id": result["source_call_id"]} if result.get("source_call_id") else {})
        else:
            yield {"content": result}


def _word(value: Any) -> str:
    return str(value).strip().lower()


def talk_in(columns: Columns, named: str | None = None) -> Talk | None:
    """The only list of turns in these rows, in the column that is named or anywhere; None without exactly one whose speakers are known."""
    found = [talk for path in _lists(columns, named) if (talk := _talk_at(columns, path)) is not None]
    return found[0] if len(found) == 1 else None


def unknown_speakers(columns: Columns) -> tuple[str, str, str] | None:
    """A list that looks like turns whose speakers nobody knows: where it is, and the keys of who speaks and what; None if there is none."""
    for path in _lists(columns, None):
        items = _items(columns, path)
        keys = dict.fromkeys(key for item in items for key in item)
        speaking = next(
            (key for key in keys if SPEAKER_KEY.fullmatch(plain(key)) and _takes_turns(columns, path, key)), None
        )
        saying = _content_key(items, speaking or "")
        if speaking is not None and saying is not None:
            return path, speaking, saying
    return None


def _takes_turns(columns: Columns, path: str, key: str) -> bool:
    """Whether the same few speakers come again within most lists."""
    lists = [[part.get(key) for part in cell if isinstance(part, dict)] for cell in _cells(columns, path)]
    again = [
        names
        for names in lists
        if all(isinstance(name, str | int) for name in names) and 1 < len({*names}) < len(names)
    ]
    return len(again) * 2 > len(lists)


def _lists(columns: Columns, named: str | None) -> list[str]:
    """The paths of lists of objects that most rows have, and that lie in no such list."""
    names = dict.fromkeys(path for row in columns.rows for path in paths_of(row))
    paths = [path for path in names if named in (None, path)]
    found: list[str] = []
    for path in paths:
        cells = _cells(columns, path)
        are_objects = all(isinstance(part, dict) for cell in cells for part in cell)
        is_inside = any(path.startswith(f"{other}.") for other in found)
        if (
            are_objects
            and not is_inside
            and len(cells) >= ENOUGH * len(columns.rows)
            and max(map(len, cells), default=0) > 1
        ):
            found.append(path)
    return found


def _cells(columns: Columns, path: str) -> list[list[Any]]:
    values = (parsed(value_at(row, path)) for row in columns.rows)
    return [list(map(_as_item, value)) for value in values if isinstance(value, list) and value]


def _as_item(part: Any) -> Any:
    """A speaker and what is said, `["USER", "…"]`, as an object; anything else unchanged."""
    is_pair = isinstance(part, list) and len(part) == 2 and all(isinstance(one, str) for one in part)
    return {"speaker": part[0], "text": part[1]} if is_pair else part


def _items(columns: Columns, path: str) -> list[dict[str, Any]]:
    return [part for cell in _cells(columns, path) for part in cell if isinstance(part, dict)]


def _talk_at(columns: Columns, path: str) -> Talk | None:
    items = _items(columns, path)
    keys = dict.fromkeys(key for item in items for key in item)
    for key in (*(key for key in ROLE_KEYS if key in keys), *(key for key in keys if key not in ROLE_KEYS)):
        values = [_word(item[key]) for item in items if isinstance(item.get(key), str)]
        known = ROLES.keys() if key in ROLE_KEYS else SPEAKERS
        if not values or len(values) < MOST * len(items) or not {*values} <= known:
            continue
        lists = [[_word(part.get(key)) for part in cell] for cell in _cells(columns, path)]
        roles, saying = roles_told(lists), _content_key(items, key)
        if roles is not None and saying is not None:
            return Talk(path, key, saying, roles)
    return None


def roles_told(lists: Sequence[Sequence[str]]) -> dict[str, str] | None:
    """The role of each speaker, by what all lists of turns call them. Where nobody is the assistant and a system speaks after users, it is the assistant, as
    in sets of dialogue systems. None if nobody asks or nobody answers."""
    roles = {word: ROLES[word] for words in lists for word in words if word in ROLES}
    if "user" not in roles.values():
        return None
    if "assistant" not in roles.values():
        users = [word for word, role in roles.items() if role == "user"]
        systems = [word for word, role in roles.items() if role == "system"]
        after = sum(any(one in users and other in systems for one, other in pairwise(words)) for words in lists)
        if after * 2 <= len(lists):
            return None
        roles |= dict.fromkeys(systems, "assistant")
    return roles


def _content_key(items: Sequence[dict[str, Any]], role_key: str) -> str | None:
    """The key of what is said: a usual one, else that of most different phrases, if no other has nearly as many."""
    texts: dict[str, set[str]] = {}
    for item in items:
        for key, value in item.items():
            if key != role_key and isinstance(value, str) and is_phrase(value):
                texts.setdefault(key, set()).add(value)
    usual = next((key for key in SPOKEN if key in texts), None)
    ranked = sorted(texts, key=lambda key: -len(texts[key]))
    is_clear = len(ranked) == 1 or (len(ranked) > 1 and len(texts[ranked[0]]) >= 2 * len(texts[ranked[1]]))
    return usual or (ranked[0] if is_clear else None)


def with_told_roles(columns: Columns, column: str) -> Talk | None:
    """How the turns of a column are read whose roles, each for itself, are not those of the conversation: without an assistant, but with one that answers."""
    lists, keys = [], set()
    for cell in columns.values[column]:
        inside, _ = turns_inside(parsed(cell))
        turns = [as_spoken(turn) for turn in inside] if isinstance(inside, list) else []
        words = []
        for turn in turns:
            key = next((key for key in ROLE_KEYS if isinstance(turn, dict) and isinstance(turn.get(key), str)), None)
            if key is None or inside is not parsed(cell):
                return None
            keys.add((key, content_key(turn)))
            words.append(_word(turn[key]))
        lists.append(words)
    known = {ROLES.get(word) for words in lists for word in words}
    roles = roles_told(lists) if "assistant" not in known else None
    if roles is None or len({key for key, _ in keys}) != 1:
        return None
    (role_key,), contents = {key for key, _ in keys}, [content for _, content in keys if content]
    return Talk(column, role_key, contents[0], roles) if contents else None


@dataclass(frozen=True)
class Exchange:
    """The turns of a request and the turn that answers them, in different parts of a row; `beside` are the system prompt and tools next to the request, by
    the name that they get."""

    request: str
    answer: str
    beside: Mapping[str, str]

    def row(self, row: Row) -> Row:
        """The row with both in columns of their own, and with what stands beside the request."""
        given = {name: value for name, path in self.beside.items() if not is_empty(value := value_at(row, path))}
        changed = lifted(row, [self.request, self.answer, *self.beside.values()])
        return {name: value for name, value in changed.items() if name not in self.beside.values()} | given


def exchange_in(columns: Columns) -> Exchange | None:
    """The only request of turns and the only turn that answers it; None without exactly one of each."""
    names = list(dict.fromkeys(path for row in columns.rows for path in paths_of(row)))
    requests = [
        path
        for path in names
        if _in_all(
            columns, path, lambda value: isinstance(value, list) and is_conversation(value) and awaits_answer(value)
        )
    ]
    answers = [path for path in names if _in_all(columns, path, _is_answer)]
    requests, answers = (
        _outermost(requests),
        [path for path in _outermost(answers) if not any(path.startswith(f"{one}.") for one in requests)],
    )
    if len(requests) != 1 or len(answers) != 1 or "." not in requests[0] + answers[0]:
        return None
    parent = requests[0].rpartition(".")[0]
    beside = {
        path.rpartition(".")[2]: path
        for path in names
        if parent
        and path.rpartition(".")[0] == parent
        and plain(path.rpartition(".")[2]) in (*SYSTEM, *TOOLS, *TOOL_CONFIG)
    }
    return Exchange(
        requests[0], answers[0], {name: path for name, path in beside.items() if name not in columns.values}
    )


def _in_all(columns: Columns, path: str, holds: Any) -> bool:
    values = [value_at(row, path) for row in columns.rows]
    return len([value for value in values if value is not None]) == len(values) > 0 and all(map(holds, values))


def _is_answer(value: Any) -> bool:
    turn = as_spoken(value)
    return is_turn(turn) and ROLES.get(speaker_of(turn)) == "assistant"


def _outermost(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
