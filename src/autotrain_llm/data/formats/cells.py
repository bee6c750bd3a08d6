"""Cells of a row as text, and which roles and keys of the row were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import median
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.messages import Unread
from autotrain_llm.data.observations import RowUnusable
from autotrain_llm.data.request import COLUMN_FLAGS
from autotrain_llm.data.rules.columns import a_cell_has_the_wrong_type, a_cell_is_empty, a_cell_is_null
from autotrain_llm.data.turns import is_too_deep, parsed
from autotrain_llm.data.wording import kind_of, shown

ANSWER_KEYS = ("text", "value", "content", "answer")
PROMPT_KEYS = ("full_text", "text", "content", "value", "question", "prompt", "body", "post")
LONG_ANSWER = 40  # characters; a list of shorter texts, such as names, may well be one answer
UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
NOT_A_NUMBER = ("nan", "NaN")


def is_blank(text: str) -> bool:
    """Whether a text has nothing but spaces and zero-width characters."""
    return not text or text.isspace() or not text.strip().strip(UNSEEN).strip()


def is_empty(value: Any) -> bool:
    """Whether a cell is empty: null, no text, no items, or NaN, as pandas writes an empty cell."""
    if isinstance(value, str):
        return is_blank(value) or value in NOT_A_NUMBER
    return value is None or value == [] or value == {} or value != value


def prompt_key(value: Any) -> str | None:
    """The key of the text of a prompt in an object; None if there is none."""
    if not isinstance(value, dict):
        return None
    return next((key for key in PROMPT_KEYS if isinstance(value.get(key), str) and not is_blank(value[key])), None)


def kind_of_answers(value: Any) -> str:
    """What a list or an object in place of an answer holds: `several` long texts, `choices` with a mark for each that is right, or an empty text for
    anything else."""
    value = parsed(value)
    if isinstance(value, list) and len(value) > 1 and all(isinstance(part, str) for part in value):
        return "several" if median(map(len, value)) >= LONG_ANSWER else ""
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list) and len(part) > 1]
        texts = [part for part in lists if all(isinstance(item, str) for item in part)]
        marks = [part for part in lists if all(item in (0, 1) for item in part)]
        return "choices" if len(texts) == len(marks) == 1 and len(texts[0]) == len(marks[0]) else ""
    return ""


def are_found_answers(value: Any) -> bool:
    """Whether this is a list of answers that were found in a context, `[{"text": "…", "answer_start": 5}, …]`, or an object of such lists."""
    if isinstance(value, dict):
        return "answer_start" in value and isinstance(value.get("text"), list) and bool(value["text"])
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(answer, dict) and isinstance(answer.get("text"), str) and "answer_start" in answer
            for answer in value
        )
    )


def _without_answers(value: Any) -> bool:
    """Whether there is no answer where others were found in a context: an empty list, or an object of such."""
    return value == [] or (isinstance(value, dict) and value.get("text") == [])


def _only_generation(value: Any) -> Any:
    """The answer in a result of LangChain, `{"generations": [[{"text": "…"}]]}`, where it is the only one; any other value unchanged."""
    inner = value.get("generations") if isinstance(value, dict) else None
    while isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    return inner if isinstance(inner, dict) and isinstance(inner.get("text"), str) else value


class Cells:
    """The cells of one row by role. Taking a role marks it as read, so that columns that no format reads can be reported. `as_json` are
    columns whose list or object was written as JSON; `unread` are keys inside cells that were not read."""

    __slots__ = ("as_json", "columns", "row", "taken", "unread")

    def __init__(self, row: Row, columns: Mapping[str, str]) -> None:
        self.row, self.columns = row, columns
        self.taken: set[str] = set()
        self.as_json: list[str] = []
        self.unread: dict[str, Unread] = {}

    def __contains__(self, role: str) -> bool:
        return role in self.columns

    def take(self, role: str) -> Any:
        """The value in the column of a role; None if there is no such column, or the cell is empty."""
        self.taken.add(role)
        value = self.row.get(self.columns[role]) if role in self.columns else None
        return None if is_empty(value) else value

    def text(self, role: str, *, is_prompt: bool = False, is_named: bool = False) -> str:
        """The text of a required cell. Raises RowUnusable if it is empty, or if a prompt is a list or an object; one that was named is written as JSON."""
        column = self.columns[role]
        value = self.row.get(column)
        self.taken.add(role)
        if isinstance(value, str):
            if is_blank(value):
                raise RowUnusable(a_cell_is_empty, column=column)
            if value in NOT_A_NUMBER:
                raise RowUnusable(a_cell_is_empty, column=column, value=value)
            return value
        if is_empty(value) and not isinstance(value, list | dict):
            raise self.missing(column)
        if is_too_deep(value):
            raise RowUnusable(a_cell_has_the_wrong_type, column=shown(column), case="too deep")
        key = prompt_key(value) if is_prompt else None
        if value is not None and key is not None:
            self.unread_in(role).update({name: part for name, part in value.items() if name != key})
            return str(value[key])
        if is_prompt and isinstance(value, list | dict | bytes) and (not is_named or isinstance(value, bytes)):
            facts = {
                "content": kind_of(value),
                "flag": COLUMN_FLAGS["prompt_column" if role == "prompt" else "text_column"],
            }
            raise RowUnusable(a_cell_has_the_wrong_type, column=shown(column), case="not text", **facts)
        return self.written(value, column)

    def answer(self, role: str, *, is_python: bool = False, is_found: bool = False) -> str:
        """The text of an answer. Of an object that holds one, `{"text": …}`, and of a list of one, that text; also where Python wrote it as text. Of answers
        that were found in a context a row may have none. Raises RowUnusable for it."""
        column = self.columns[role]
        value = parsed(self.row.get(column)) if is_python else self.row.get(column)
        value = _only_generation(value)
        if is_found and _without_answers(value):
            self.taken.add(role)
            raise RowUnusable(a_cell_is_empty, column=column, case="no answer")
        if isinstance(value, list) and are_found_answers(value):  # of SQuAD, where each is right
            value = {"text": [answer["text"] for answer in value]}
        key = next((key for key in ANSWER_KEYS if isinstance(value, dict) and value.get(key)), None)
        inner = value[key] if isinstance(value, dict) and key is not None else value
        texts = (
            list(dict.fromkeys(inner))
            if isinstance(inner, list) and all(isinstance(part, str) for part in inner)
            else []
        )
        if isinstance(inner, list) and (len(texts) == 1 or (texts and key is not None)):
            inner = texts[0]  # of several, as of SQuAD, each is right
        if not isinstance(inner, str) or inner is value or is_blank(inner):
            return self.text(role)
        self.taken.add(role)
        if isinstance(value, dict):
            self.unread_in(role).update({name: part for name, part in value.items() if name != key})
        if len(texts) > 1:
            self.unread_in(role)[f"{key or ''}[1:]"] = texts[1:]
        return inner

    def optional(self, role: str) -> str:
        """The text of an optional cell; empty if it is missing."""
        value = self.take(role)
        return "" if value is None else self.written(value, self.columns[role])

    def written(self, value: Any, column: str) -> str:
        """A value as text: numbers and booleans as JSON writes them, and lists and objects as JSON."""
        if isinstance(value, str):
            return value
        if isinstance(value, bytes):
            raise RowUnusable(a_cell_has_the_wrong_type, column=shown(column), case="not text", content=kind_of(value))
        if isinstance(value, list | dict):
            self.as_json.append(column)
        elif not isinstance(value, bool | int | float):
            return str(value)
        return json.dumps(value, ensure_ascii=False, default=str)

    def unread_in(self, role: str) -> Unread:
        """The collection to which the reader of this cell adds the keys that it doesn't read."""
        return self.unread.setdefault(self.columns[role], Unread())

    def parsed(self, role: str) -> Any:
        """A list or object; also one that the cell has as text."""
        return parsed(self.take(role))

    def missing(self, column: str) -> RowUnusable:
        """The exception for a required cell that is null, or missing because the file has rows of two kinds."""
        if column in self.row or not self.row:
            return RowUnusable(a_cell_is_null, column=column)
        return RowUnusable(a_cell_is_null, "missing", column=column, case="missing", columns=list(self.row))
