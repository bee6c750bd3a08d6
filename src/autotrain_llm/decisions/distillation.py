"""Decide the teacher, and how what it says reaches the loss."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config import Config
from autotrain_llm.facts.world import World


def decide_distillation(config: Config, world: World) -> dict[str, Any] | None:
    """The plan's `distillation`; None where the run has none."""
    return None
