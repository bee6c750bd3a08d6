"""ROUGE, as rouge-score computes it."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, REFERENCES, Metric

METRIC = Metric(
    name="rouge",
    title="ROUGE-1, ROUGE-2 and ROUGE-L F1 (rouge-score) of generated answers, 0 to 1",
    reports={"rouge1": MAXIMIZE, "rouge2": MAXIMIZE, "rougeL": MAXIMIZE},
    rows=REFERENCES,
    usual=("conversations", "prompts"),
    score="autotrain_llm.run.evaluation.scores:Rouge",
    also=("rouge1", "rouge2", "rougel", "rouge_l", "rouge_1", "rouge_2", "rougelsum", "rouge_score"),
    packages=("rouge_score",),
)
