"""Length of generated answers."""

from __future__ import annotations

from autotrain_llm.declare.metric import MINIMIZE, Metric

METRIC = Metric(
    name="length",
    title="mean length of answers to the evaluation prompts, in tokens",
    reports={"length": MINIMIZE},
    rows=("prompts",),
    usual=("prompts",),
    measured_as=("length", "completions/mean_length"),
    also=("answer_length", "mean_length"),
)
