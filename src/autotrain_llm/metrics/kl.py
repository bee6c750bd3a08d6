"""Distance from the reference."""

from __future__ import annotations

from autotrain_llm.declare.metric import MINIMIZE, Metric

METRIC = Metric(
    name="kl",
    title="how far the model has moved from its reference, in nats",
    reports={"kl": MINIMIZE},
    rows=("preferences", "prompts"),
    usual=("preferences", "prompts"),
    measured_as=("kl", "objective/kl"),
    also=("kl_divergence", "kl_div"),
)
