"""The kinds that a plan names: where a score head comes from, and what a reward comes from."""

from __future__ import annotations

NEW_HEAD, KEPT_HEAD = "new", "kept"
MODEL, FUNCTION, MISSING_END = "model", "function", "missing_end"
