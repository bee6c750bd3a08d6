"""How values, times and texts look in the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

START = 360  # letters of a long text that are seen before it is opened
LONGEST = 6000  # letters of any text in the page


def value(held: Any) -> str:
    """A value in one line."""
    if held is None:
        return "–"
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, int):
        return f"{held:,}" if abs(held) >= 10_000 else str(held)
    if isinstance(held, float):
        return _fraction(held)
    if isinstance(held, list | tuple):
        return ", ".join(value(item) for item in held) or "none"
    if isinstance(held, Mapping):
        return ", ".join(f"{name} {value(item)}" for name, item in held.items())
    return str(held)


def _fraction(number: float) -> str:
    if abs(number) >= 10_000:
        return f"{number:,.0f}"
    return f"{number:.4g}"


def exact(held: Any) -> str:
    """A parameter's value as it could be typed, with every digit."""
    if held is None:
        return "–"
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, list | tuple):
        return ", ".join(exact(item) for item in held) or "none"
    return json.dumps(held, ensure_ascii=False) if isinstance(held, Mapping) else str(held)


def change(difference: float | None, before: float | None) -> str:
    """A difference with its sign, and as a share of what was before."""
    if difference is None:
        return ""
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    share = f" ({sign}{abs(difference / before):.0%})" if before else ""
    return f"{sign}{value(abs(difference))}{share}"


def name(metric: str) -> str:
    """`eval_token_accuracy` as it is said."""
    said = metric.replace("_", " ")
    return f"evaluation: {said.removeprefix('eval ')}" if metric.startswith("eval_") else said


def duration(seconds: Any) -> str:
    """`42.0 s`, `3 min 20 s`, `2 h 5 min`; a dash where it is not known."""
    if not isinstance(seconds, int | float):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def text(held: Any) -> str:
    """What a row holds as text: turns of a conversation one below the other, anything else as it is."""
    if isinstance(held, str):
        return held
    if isinstance(held, list) and held and all(isinstance(turn, Mapping) and "content" in turn for turn in held):
        return "\n".join(f"{turn.get('role', 'text')}: {text(turn['content'])}" for turn in held)
    return "" if held is None else json.dumps(held, ensure_ascii=False)


def start(whole: str) -> str | None:
    """The beginning of a text that is too long to be seen at once; None where it is not."""
    lines = whole.count("\n")
    if len(whole) <= START + 80 and lines < 12:
        return None
    return "\n".join(whole[:START].split("\n")[:8]).rstrip()


def cut(whole: str) -> str:
    """A text up to the longest that the page takes, which says so where it ends early."""
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}\n… {len(whole) - LONGEST:,} letters more"
