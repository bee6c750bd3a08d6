"""How far the labels of preference rows are trusted."""

from __future__ import annotations

from autotrain_llm.declare.param import FIXED, TAKES_EFFECT, Bounds, group, param


@group("Label smoothing", order=605)
class LabelSmoothing:
    """Noise in the labels."""

    label_smoothing: float = param(
        0.0,
        "Assumed share of pairs whose labels are swapped.",
        within=Bounds(low=0, high=0.5, high_open=True),
        on_resume=TAKES_EFFECT,
        aliases="dpo_label_smoothing",
    )


@group("Reference model", order=611)
class Reference:
    """The reference model."""

    model_ref: str | None = param(
        None,
        "Reference model: a folder, an adapter, an earlier run or a Hub id.",
        metavar="NAME|DIR",
        default_words="--model as it was at the start",
        path="input",
        aliases="ref ref_model ref_model_name_or_path ref_model_path ref_pretrain reference_model reference_model_path",
        on_resume=FIXED,
    )
