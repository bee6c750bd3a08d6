"""BLEU, as sacreBLEU computes it."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, REFERENCES, Metric

METRIC = Metric(
    name="bleu",
    title="corpus BLEU (sacreBLEU) of generated answers, 0 to 100",
    reports={"bleu": MAXIMIZE},
    rows=REFERENCES,
    usual=("conversations", "prompts"),
    score="autotrain_llm.run.evaluation.scores:Bleu",
    also=("sacrebleu", "bleu4", "bleu_4", "corpus_bleu"),
    packages=("sacrebleu",),
)
