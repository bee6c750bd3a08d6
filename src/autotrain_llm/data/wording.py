"""How names and values are written in findings."""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

LIST_OF_TURNS = '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
ROW_OF_TURNS = f'{{"messages": {LIST_OF_TURNS}}}'


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """The names `known`, the most similar to `name` first; those that are equal apart from case and spaces come before all others."""
    target = plain(name)

    def distance(other: str) -> float:
        if plain(other) == target:
            return -1.0
        return 1.0 - difflib.SequenceMatcher(None, target, plain(other)).ratio()

    return sorted(known, key=distance)


def plain(name: str) -> str:
    """A column or template name without case, surrounding spaces, and the difference between space, dash and underscore."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_").lstrip("\ufeff")


def shown(name: str) -> str:
    """A column name as it is, in quotes where spaces would hide what it is."""
    return repr(name) if name != name.strip() or " " in name or not name else name


def as_flag(*columns: str) -> str:
    """Names of columns as the value of a flag, quoted for a shell where it needs it."""
    return shlex.quote(",".join(columns))


def quoted(text: str, most: int) -> str:
    """A text in quotes; of a longer one the first `most` characters."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names joined by commas; a long list is shortened."""
    all_names = [shown(name) for name in names]
    text = ", ".join(all_names[:most])
    return text + (f", … ({len(all_names)} in all)" if len(all_names) > most else "")


def kind_of(value: Any) -> str:
    """The type of a value in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, bytes):
        return "bytes"
    return type(value).__name__


def number_of(value: Any) -> float | None:
    """The finite number that a value is, or is the text of; None for anything else, true and false among it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parameter_of(flag: str) -> str:
    """`--data-path` -> `data_path`."""
    return flag.removeprefix("--").replace("-", "_")


def raise_limit(flag: str, tokens: int, context: int | None, otherwise: str = "") -> str:
    """The flag with a limit that holds this many tokens, or what to do if that is more than the model's context."""
    if context is not None and tokens > context:
        return f"{otherwise or 'shorten it'}: the model's context is {context} tokens"
    larger = power_of_two(tokens) if context is None else min(power_of_two(tokens), context)
    return f"{flag} {larger}" + (f", or {otherwise}" if otherwise else "")


def power_of_two(tokens: int) -> int:
    """The power of two that holds this many tokens."""
    return 1 << (tokens - 1).bit_length()


def enumerated(names: Sequence[str]) -> str:
    """`a`, `a and b`, or the first three of more."""
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:3])
