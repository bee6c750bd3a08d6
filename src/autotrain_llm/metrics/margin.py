"""Reward margin of a pair."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, Metric

METRIC = Metric(
    name="margin",
    title="mean of the chosen answer's reward minus the rejected answer's",
    reports={"margin": MAXIMIZE},
    rows=("preferences", "scored"),
    usual=("preferences", "scored"),
    measured_as=("margin", "rewards/margins"),
    also=("margins", "rewards/margins", "reward_margin"),
)
