"""Perplexity: e to the mean negative log-likelihood of the tokens that are trained on."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MINIMIZE, Metric

METRIC = Metric(
    name="perplexity",
    title="e to the mean loss per trained token, each token counting the same; with preferences of the chosen answers",
    reports={"perplexity": MINIMIZE},
    rows=ANSWERS,
    usual=ANSWERS,
    measured_as=("perplexity",),
    also=("ppl",),
)
