"""Importances of searched parameters, where there are trials enough to estimate them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MIN_TRIALS = 20  # complete ones; the estimate compares the best tenth of them with all
PER_PARAMETER = 5
CAVEAT = "an estimate from {} trials, which depends on the ranges that were searched and says nothing outside them"


def credible_importances(importances: Any, complete: int) -> dict[str, float]:
    """Importances by parameter, the largest first; none where too few trials are complete for that many parameters."""
    if not isinstance(importances, Mapping) or complete < max(MIN_TRIALS, PER_PARAMETER * len(importances)):
        return {}
    shares = {str(name): float(share) for name, share in importances.items() if isinstance(share, int | float)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
