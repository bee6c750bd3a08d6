"""More than the loss on held-out rows."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, NOT_NEGATIVE, TAKES_EFFECT, group, param


@group(
    "Enhanced evaluation",
    order=720,
    switch="use_enhanced_eval",
    subject="Enhanced evaluation",
    searchable=False,
    on_resume=TAKES_EFFECT,
)
class Evaluation:
    """Compute more metrics on the evaluation rows, before, during and after training."""

    use_enhanced_eval: bool = param(
        False, "Compute more metrics than the loss, before, during and after training.", usual=True
    )
    eval_metrics: list[str] | None = param(
        None,
        "Metrics to compute, as a JSON list or separated by commas; evaluate:NAME or evaluate:FOLDER is one of the library evaluate.",
        metavar="NAMES",
        default_words="the trainer's usual ones",
        aliases="eval_metric metrics",
    )
    eval_save_predictions: bool = param(False, "Save every prediction together with its reference.")
    eval_benchmark: list[str] | None = param(
        None,
        "Run these tasks of lm-evaluation-harness, by name or as YAML files, on the finished model.",
        metavar="NAMES|FILE",
    )


@group(
    "Generated answers",
    order=721,
    switch="use_enhanced_eval",
    subject="Enhanced evaluation",
    searchable=False,
    on_resume=TAKES_EFFECT,
)
class GeneratedAnswers:
    """Answers generated for metrics that compare texts."""

    eval_samples: int = param(
        100,
        "Number of evaluation rows to generate answers for, chosen with --seed; -1 for all.",
        within=AT_LEAST_ONE,
        also=(-1,),
    )
    eval_max_new_tokens: int = param(
        128, "Maximum number of generated tokens per answer in evaluation.", within=AT_LEAST_ONE
    )
    eval_temperature: float = param(
        0.0, "Sampling temperature of these answers; 0 is greedy decoding.", within=NOT_NEGATIVE
    )


@group(
    "Reference answers",
    order=722,
    switch="use_enhanced_eval",
    subject="Enhanced evaluation",
    searchable=False,
    on_resume=TAKES_EFFECT,
)
class ComparedAnswers:
    """How answers are compared with those of the evaluation rows."""

    eval_bertscore_model: str | None = param(
        None,
        "Encoder for BERTScore: a folder or a Hub id.",
        metavar="NAME|DIR",
        default_words="FacebookAI/roberta-base",
        path="input",
    )
    eval_bertscore_layer: int | None = param(
        None,
        "Encoder layer whose hidden states BERTScore compares.",
        within=AT_LEAST_ONE,
        default_words="the one BERTScore's authors found best for a well-known encoder, else the last",
    )
