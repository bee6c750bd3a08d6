"""Names used in a plan: how a score head was made, and what kind of reward a term is."""

from __future__ import annotations

NEW_HEAD, KEPT_HEAD = "new", "kept"
REGRESSION, CLASSES = "regression", "single_label_classification"  # problem_type of transformers
MODEL, FUNCTION, MISSING_END = "model", "function", "missing_end"
