"""KL divergence from the reference model."""

from __future__ import annotations

from autotrain_llm.declare.metric import MINIMIZE, Metric

METRIC = Metric(
    name="kl",
    title="KL divergence of the model from the reference model, in nats",
    reports={"kl": MINIMIZE},
    rows=("preferences", "prompts"),
    usual=("preferences", "prompts"),
    measured_as=("kl", "objective/kl"),
    also=("kl_divergence", "kl_div"),
)
