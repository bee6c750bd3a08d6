"""Names used in a plan: how a score head was made, and what kind of reward a term is."""

from __future__ import annotations

NEW_HEAD, KEPT_HEAD = "new", "kept"
MODEL, FUNCTION, MISSING_END = "model", "function", "missing_end"
