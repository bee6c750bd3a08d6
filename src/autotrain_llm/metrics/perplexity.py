"""Perplexity: exp of the mean negative log-likelihood of the tokens in the loss."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MINIMIZE, Metric

METRIC = Metric(
    name="perplexity",
    title="exp of the mean loss per token, over all tokens in the loss; for preference data of the chosen answers",
    reports={"perplexity": MINIMIZE},
    rows=ANSWERS,
    usual=ANSWERS,
    measured_as=("perplexity",),
    also=("ppl",),
)
