"""How the report writes values and texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PREVIEW_CHARACTERS = 360  # of a long text, before it is opened
MAX_CHARACTERS = 6000  # of any text in the page


def short(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(short(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {short(item)}" for name, item in value.items())
    return str(value)


def exact(value: Any) -> str:
    """A parameter's value as it could be typed, with every digit."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(exact(item) for item in value) or "none"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)


def change(difference: float | None, before: float | None) -> str:
    """A difference with its sign, and as a share of what was before; one that rounds to nothing is left out."""
    if difference is None:
        return ""
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    share = f"{abs(difference / before):.0%}" if before else ""
    is_shown = share and (share != "0%" or not difference)
    return f"{sign}{short(abs(difference))}{f' ({sign}{share})' if is_shown else ''}"


def text(value: Any) -> str:
    """What a row holds as text: turns of a conversation one below the other, anything else as it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, Mapping) and "content" in turn for turn in value):
        return "\n".join(f"{turn.get('role', 'text')}: {text(turn['content'])}" for turn in value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def preview(whole: str) -> str | None:
    """The beginning of a text that is too long to be seen at once; None if it is not."""
    lines = whole.count("\n")
    if len(whole) <= PREVIEW_CHARACTERS + 80 and lines < 12:
        return None
    return "\n".join(whole[:PREVIEW_CHARACTERS].split("\n")[:8]).rstrip()


def truncated(whole: str) -> str:
    """A text up to the longest that the page takes, which says so where it ends early."""
    return (
        whole
        if len(whole) <= MAX_CHARACTERS
        else f"{whole[:MAX_CHARACTERS]}\n… {len(whole) - MAX_CHARACTERS:,} more characters"
    )
