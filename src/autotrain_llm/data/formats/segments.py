"""Texts in segments that say of themselves whether they are trained on: `[{"label": false, "text": "2 + 2 = "}, {"label": true, "text": "4"}]`."""

from __future__ import annotations

from typing import Any, TypeGuard

from autotrain_llm.data.turns import MASKED_KEYS, TRAINED_KEYS

SEGMENTS = "segments"  # the kind of a column, and its usual name
MARKS = ("label", *TRAINED_KEYS, *MASKED_KEYS)
Span = tuple[int, int]


def is_segments(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Whether this is a list of texts with a mark of whether each is trained on."""
    return isinstance(value, list) and bool(value) and all(_mark_of(part) is not None for part in value)


def _mark_of(part: Any) -> str | None:
    """The key of the mark; None if this is no such text."""
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return None
    marks = [key for key in MARKS if type(part.get(key)) is bool or part.get(key) in (0, 1)]
    return marks[0] if len(marks) == 1 and "role" not in part and "from" not in part else None


def joined(segments: list[dict[str, Any]], unread: dict[str, Any]) -> tuple[str, list[Span]]:
    """The text of all segments, and the characters of those that are trained on; other keys are added to `unread`."""
    text, spans = "", []
    for part in segments:
        mark = _mark_of(part)
        assert mark is not None
        start, text = len(text), text + part["text"]
        if bool(part[mark]) != (mark in MASKED_KEYS) and len(text) > start:
            spans.append((start, len(text)))
        unread.update({key: value for key, value in part.items() if key not in ("text", mark)})
    return text, spans
