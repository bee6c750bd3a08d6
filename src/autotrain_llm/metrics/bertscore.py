"""BERTScore: similarity of the answer's and the reference's tokens in the embeddings of an encoder."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, REFERENCES, Metric

METRIC = Metric(
    name="bertscore",
    title="greedily matched cosine similarity of generated answer and reference in an encoder (--eval-bertscore-model): F1, precision, recall",
    reports={"bertscore": MAXIMIZE, "bertscore_precision": MAXIMIZE, "bertscore_recall": MAXIMIZE},
    rows=REFERENCES,
    score="autotrain_llm.run.evaluation.bertscore:BertScore",
    also=("bert_score", "bertscore_f1", "bert"),
)
