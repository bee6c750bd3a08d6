"""Texts that a test compares with a file in tests/snapshots/. `make snapshots` writes the files again: their change is then read in the commit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "snapshots"
WRITE = "WRITE_SNAPSHOTS"
WIDTHS = (60, 80, 100, 120)
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_each_width(monkeypatch: pytest.MonkeyPatch, shown: Callable[[], str]) -> str:
    """What is shown in terminals of each width, one after the other, without colours."""
    parts = []
    monkeypatch.setenv("NO_COLOR", "1")
    for columns in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = [line.rstrip() for line in CODES.sub("", shown()).strip("\n").split("\n")]
        parts.append("\n".join([f"{columns} columns ".ljust(columns, "="), *lines]))
    return "\n\n".join(parts) + "\n"


def assert_is_snapshot(name: str, text: str) -> None:
    """Compare with the file of this name, or write it."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get(WRITE):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"make snapshots, if {path.name} should change"
