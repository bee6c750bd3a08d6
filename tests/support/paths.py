"""Where things lie: the project, its tests, and material beside it that may be absent."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PROJECT = TESTS.parent
SHARED = PROJECT.parent / "shared"  # optional: tests that use it are skipped where it is not there


def find_test(name: str) -> Path:
    """The one test file of this name, wherever it lies."""
    (path,) = TESTS.rglob(name)
    return path
