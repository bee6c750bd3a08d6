"""chrF, as sacreBLEU computes it."""

from __future__ import annotations

from autotrain_llm.declare.metric import MAXIMIZE, REFERENCES, Metric

METRIC = Metric(
    name="chrf",
    title="corpus chrF2 (sacreBLEU) of generated answers, 0 to 100; works on characters, so for any language",
    reports={"chrf": MAXIMIZE},
    rows=REFERENCES,
    score="autotrain_llm.run.evaluation.scores:Chrf",
    also=("chrf2", "chr_f", "chrf_score"),
    packages=("sacrebleu",),
)
