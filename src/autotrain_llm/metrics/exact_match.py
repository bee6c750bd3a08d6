"""Exact match."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, REFERENCES, Metric

METRIC = Metric(
    name="exact_match",
    title="share of generated answers that equal the reference, ignoring white space",
    reports={"exact_match": MAXIMIZE},
    rows=REFERENCES,
    score="autotrain_llm.run.evaluation.scores:ExactMatch",
    also=("em", "exact", "exactmatch"),
)
