"""The kinds of a reward source, as the plan names them."""

from __future__ import annotations

MODEL, FUNCTION, MISSING_END = "model", "function", "missing_end"
