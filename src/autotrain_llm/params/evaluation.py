"""More than the loss on held-out rows."""

from __future__ import annotations

from autotrain_llm.declare.param import group, param


@group("Enhanced evaluation", order=720, switch="use_enhanced_eval", subject="Enhanced evaluation", available=False)
class Evaluation:
    """Score the model's own words on held-out rows, before and after."""

    use_enhanced_eval: bool = param(False, "Evaluate with more than the loss.")
    eval_metrics: list[str] = param(("perplexity",), "Metrics, as a JSON list or separated by commas.", metavar="NAMES")
    eval_save_predictions: bool = param(False, "Keep every prediction beside its reference.")
    eval_benchmark: str | None = param(None, "Run this benchmark on the finished model.", metavar="NAME")
