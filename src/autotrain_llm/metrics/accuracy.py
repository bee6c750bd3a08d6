"""Accuracy over pairs."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, Metric

METRIC = Metric(
    name="accuracy",
    title="share of pairs whose chosen answer is ranked above the rejected one (kto: share of answers whose reward has the sign of their label)",
    reports={"accuracy": MAXIMIZE},
    rows=("preferences", "scored"),
    usual=("preferences", "scored"),
    measured_as=("accuracy", "rewards/accuracies"),
    also=("acc", "accuracies", "rewards/accuracies", "reward_accuracy"),
)
