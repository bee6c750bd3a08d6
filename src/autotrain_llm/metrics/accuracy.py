"""Accuracy over pairs."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, Metric

METRIC = Metric(
    name="accuracy",
    title="share of the pairs whose chosen answer is put above the rejected one (kto: of the answers on their label's side)",
    reports={"accuracy": MAXIMIZE},
    rows=("preferences", "scored"),
    usual=("preferences", "scored"),
    measured_as=("accuracy", "rewards/accuracies"),
    also=("acc", "accuracies", "rewards/accuracies", "reward_accuracy"),
)
