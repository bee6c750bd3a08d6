"""Training a small adapter in place of the whole model."""

from __future__ import annotations

from autotrain_llm.declare.param import (
    AT_LEAST_ONE,
    FIXED,
    POSITIVE,
    SHARE_BELOW_ONE,
    TAKES_EFFECT,
    among,
    group,
    linear,
    param,
)


@group("LoRA", order=70, switch="peft", subject="LoRA")
class Lora:
    """Train a low-rank adapter and freeze the model's own weights."""

    peft: bool = param(
        False,
        "Train a LoRA adapter instead of the whole model.",
        usual=True,
        aliases="adapter fine_tune_type finetuning_type lora lora_type peft_method peft_type sft_type train_type tuner_type use_lora use_peft",
        on_resume=FIXED,
    )
    lora_r: int = param(
        16,
        "Rank of the adapter.",
        within=AT_LEAST_ONE,
        search=among(8, 16, 32, 64),
        aliases="lora_dim lora_rank r",
        on_resume=FIXED,
    )
    lora_alpha: float = param(
        32,
        "Scale of the adapter: its output is multiplied by alpha / r, with --use-rslora by alpha / sqrt(r).",
        within=POSITIVE,
        aliases="alpha_lora",
        on_resume=FIXED,
    )
    lora_dropout: float = param(
        0.05,
        "Dropout probability of the adapter's input while training.",
        within=SHARE_BELOW_ONE,
        search=linear(0.0, 0.2),
        suggested=0.05,
        usual_range=(0.0, 0.6),
        aliases="lora_dropout_p",
        on_resume=TAKES_EFFECT,
    )
    use_dora: bool = param(
        False,
        "Use DoRA: train the magnitude of each weight column apart from its direction; slower, often better at a low rank.",
        on_resume=FIXED,
        aliases="peft_use_dora",
    )
    use_rslora: bool = param(
        False,
        "Use rsLoRA: scale the adapter by alpha / sqrt(r), so that its output does not shrink at a high rank.",
        on_resume=FIXED,
        aliases="peft_use_rslora",
    )
    target_modules: list[str] = param(
        ("all-linear",),
        "Modules that get an adapter, separated by commas.",
        metavar="NAMES|all-linear",
        aliases="lora_modules lora_target lora_target_modules peft_target_modules target_module",
        on_resume=FIXED,
    )
    merge_adapter: bool = param(
        False,
        "Merge the trained adapter into the model and save the whole model.",
        aliases="export_merged merge_and_unload merge_lora merge_weights save_merged",
        on_resume=TAKES_EFFECT,
    )
