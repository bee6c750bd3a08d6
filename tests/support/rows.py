"""Rows that tiny models can learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COLOURS = ["red", "blue", "green", "yellow", "black", "white", "brown", "pink"]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(count: int) -> list[dict[str, Any]]:
    """Conversations that a tiny model can learn: the answer repeats a word of the question."""
    rows = []
    for number in range(count):
        colour, other = COLOURS[number % 8], COLOURS[(number // 8) % 8]
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"Number {number}: which comes first, {colour} or {other}?"},
                    {"role": "assistant", "content": f"{colour} comes first."},
                ]
            }
        )
    return rows
