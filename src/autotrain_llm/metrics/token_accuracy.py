"""Token accuracy: how often the most likely token is the correct one."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MAXIMIZE, Metric

METRIC = Metric(
    name="token_accuracy",
    title="share of the tokens in the loss that are the model's most likely token; for preference data of the chosen answers",
    reports={"token_accuracy": MAXIMIZE},
    rows=ANSWERS,
    usual=("documents", "conversations"),
    measured_as=("token_accuracy",),
    also=("mean_token_accuracy", "tokens_accuracy"),
)
