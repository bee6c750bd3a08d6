"""Search spaces and values as Optuna stores them, for the sweep and for its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

SCALARS = (bool, int, float, str)


def encoded(value: Any) -> Any:
    """A choice as Optuna stores it: a list as JSON."""
    return value if value is None or isinstance(value, SCALARS) else json.dumps(value)


def distribution(space: Mapping[str, Any], *, is_int: bool) -> BaseDistribution:
    """A search space of the plan as Optuna's distribution."""
    if "choices" in space:
        return CategoricalDistribution([encoded(choice) for choice in space["choices"]])
    low, high, is_log, step = space["low"], space["high"], space["log"], space["step"]
    if is_int:
        return IntDistribution(int(low), int(high), log=is_log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=is_log, step=step)
