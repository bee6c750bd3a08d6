"""BERTScore: how near the answer's tokens are to the reference's in an encoder's space."""

from __future__ import annotations

from autotrain_llm.declare.metric import ANSWERS, MAXIMIZE, Metric

METRIC = Metric(
    name="bertscore",
    title="greedy cosine between the tokens of generated answer and reference in an encoder (--eval-bertscore-model): F, precision, recall",
    reports={"bertscore": MAXIMIZE, "bertscore_precision": MAXIMIZE, "bertscore_recall": MAXIMIZE},
    rows=ANSWERS,
    score="autotrain_llm.run.evaluation.bertscore:BertScore",
    also=("bert_score", "bertscore_f1", "bert"),
)
