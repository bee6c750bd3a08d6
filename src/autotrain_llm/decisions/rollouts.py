"""Decide what a policy samples, and what scores it."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config import Config
from autotrain_llm.facts.world import World


def decide_rollouts(config: Config, world: World) -> dict[str, Any] | None:
    """The plan's `rollouts`; None where the run has none."""
    return None
