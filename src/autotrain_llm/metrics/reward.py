"""Mean reward of generated answers."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, Metric

METRIC = Metric(
    name="reward",
    title="mean reward of answers to the evaluation prompts",
    reports={"reward": MAXIMIZE},
    rows=("prompts",),
    usual=("prompts",),
    measured_as=("reward",),
    also=("rewards", "mean_reward", "score"),
)
