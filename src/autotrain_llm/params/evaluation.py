"""More than the loss on held-out rows."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NOT_NEGATIVE, group, param


@group("Enhanced evaluation", order=720, switch="use_enhanced_eval", subject="Enhanced evaluation", searchable=False)
class Evaluation:
    """Measure more on held-out rows, before, during and after training."""

    use_enhanced_eval: bool = param(False, "Evaluate with more than the loss, before, during and after training.")
    eval_metrics: list[str] | None = param(
        None,
        "Metrics, as a JSON list or separated by commas.",
        metavar="NAMES",
        default_words="those that are usual for the trainer",
        aliases="compute_metrics metrics",
    )
    eval_save_predictions: bool = param(False, "Keep every prediction beside its reference.")
    eval_benchmark: list[str] | None = param(
        None,
        "Run these tasks of lm-evaluation-harness, by name or as YAML files, on the finished model.",
        metavar="NAMES|FILE",
    )


@group("Generated answers", order=721, switch="use_enhanced_eval", subject="Enhanced evaluation", searchable=False)
class GeneratedAnswers:
    """What the model is asked to write where a metric compares texts."""

    eval_samples: int = param(
        100, "Evaluation rows to write answers to, a seeded choice; -1 takes all.", within=AT_LEAST_ONE, also=(-1,)
    )
    eval_max_new_tokens: int = param(128, "Longest answer that evaluation writes, in tokens.", within=AT_LEAST_ONE)
    eval_temperature: float = param(
        0.0, "Temperature of these answers; 0 takes the likeliest token.", within=NOT_NEGATIVE
    )
    eval_bertscore_model: str | None = param(
        None,
        "Encoder that BERTScore compares texts in: a folder or a Hub id.",
        metavar="NAME|DIR",
        default_words="FacebookAI/roberta-base",
        path="input",
    )
    eval_bertscore_layer: int | None = param(
        None,
        "Layer of that encoder whose outputs are compared.",
        within=AT_LEAST_ONE,
        default_words="the one BERTScore's authors found best for a well-known encoder, else the last",
    )
