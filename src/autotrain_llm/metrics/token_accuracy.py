"""Token accuracy: how often the likeliest token is the right one."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MAXIMIZE, Metric

METRIC = Metric(
    name="token_accuracy",
    title="share of the trained tokens that the model finds likeliest; with preferences of the chosen answers",
    reports={"token_accuracy": MAXIMIZE},
    rows=ANSWERS,
    usual=("documents", "conversations"),
    measured_as=("token_accuracy",),
    also=("mean_token_accuracy", "tokens_accuracy"),
)
