"""Decide enhanced evaluation: which metrics, on what, when."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config import Config
from autotrain_llm.facts.world import World


def decide_evaluation(config: Config, world: World) -> dict[str, Any] | None:
    """The plan's `evaluation`; None where the run has none."""
    return None
