"""Decide the trials of a sweep, and what they search."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config import Config
from autotrain_llm.facts.world import World


def decide_sweep(config: Config, world: World) -> dict[str, Any] | None:
    """The plan's `sweep`; None where the run has none."""
    return None
