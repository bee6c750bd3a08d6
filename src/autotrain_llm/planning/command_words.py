"""A command as words, and as the lines of a script."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.text import plain, without_point


def words_of(name: str, value: Any) -> list[str]:
    """The words that give a parameter this value, with every digit. A value that begins as a flag does is in one word with its own."""
    param = PARAMS[name]
    if isinstance(value, bool):
        return [param.flag if value else param.negated]
    value = without_point(value)
    text = plain(value)
    if param.kind == "json":
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, float):
        text = repr(value)
    return [f"{param.flag}={text}"] if text.startswith("-") else [param.flag, text]


def in_lines(words: Iterable[str]) -> str:
    """Words quoted for a shell, with a line for each flag and its value."""
    text = ""
    for word in words:
        text += (" \\\n  " if word.startswith("--") else " ") + shlex.quote(word)
    return text.strip()
