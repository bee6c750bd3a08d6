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
    nearly,
    param,
)
from autotrain_llm.params.precision import OFF, ON

PISSA, OLORA, LOFTQ = "pissa", "olora", "loftq"
AUTO = "auto"
OF_THE_BASE = (PISSA, OLORA)  # they take their first values out of the model's weights


@group("LoRA", order=70, switch="peft", subject="LoRA")
class Lora:
    """Train a low-rank adapter and freeze the model's own weights."""

    peft: bool = param(
        False,
        "Train a LoRA adapter instead of the whole model.",
        usual=True,
        aliases="adapter fine_tune_type finetuning_type lora lora_type peft_method peft_type sft_type train_type tuner_type use_lora use_peft",
        meanings={
            "freeze lisa": nearly("either all weights are trained or an adapter", peft=True),
            "oft boft adalora vera hra fourierft reft longlora llamapro adapter llama-adapter ia3 prefix prefix_tuning prompt_tuning p_tuning bone relora": nearly(
                "LoRA is the one kind of adapter", peft=True
            ),
        },
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
    lora_init: str | None = param(
        None,
        "How the adapter begins: `pissa` and `olora` with the largest part of each weight, `loftq` with what int4 rounds away, `gaussian` with normal numbers.",
        choices=("gaussian", PISSA, OLORA, LOFTQ),
        default_words="uniform numbers and zeros",
        nothing="default true",
        aliases="init_lora_weights lora_init_weights peft_init_lora_weights",
        choice_aliases={PISSA: "pissa_niter_16"},
        meanings={
            "pissa_niter_*": nearly("the singular vectors are found in 16 iterations", lora_init=PISSA),
            "orthogonal": nearly("B begins with zeros, and A with normal numbers", lora_init="gaussian"),
            "eva corda lora_ga lora-ga mica": nearly("it looks at the weights, and not at rows", lora_init=PISSA),
            "false": nearly("B begins with zeros, so that the model begins as it is"),
        },
        on_resume=FIXED,
    )
    lora_plus_ratio: float | None = param(
        None,
        "Learning rate of the adapter's B matrices as a multiple of `--lr` (LoRA+); 16 is usual.",
        within=AT_LEAST_ONE,
        default_words="1",
        search=among(4.0, 16.0),
        usual_range=(1.0, 64.0),
        aliases="loraplus_lr_ratio lora_plus_lr_ratio",
        on_resume=TAKES_EFFECT,
    )
    target_modules: list[str] = param(
        ("all-linear",),
        "Modules that get an adapter, separated by commas.",
        metavar="NAMES|all-linear",
        aliases="lora_modules lora_target lora_target_modules peft_target_modules target_module",
        on_resume=FIXED,
    )
    trainable_tokens: list[str] = param(
        (AUTO,),
        "Tokens whose rows of embedding and head are trained too, by text or id: `auto` are those that the model's own tokenizer has not.",
        metavar="TOKENS|auto|none",
        default_words="auto",
        stage="model",
        aliases="peft_trainable_token_indices trainable_token_indices",
        on_resume=FIXED,
    )
    fused_lora: str = param(
        AUTO,
        "Compute the adapters of a layer together, with fewer operations than PEFT. `auto` does so where it was measured to be faster: on processors.",
        choices=(AUTO, ON, OFF),
        choice_aliases={ON: "true yes", OFF: "false no"},
        searchable=False,
        on_resume=TAKES_EFFECT,
    )
    merge_adapter: bool = param(
        False,
        "Merge the trained adapter into the model and save the whole model.",
        aliases="export_merged merge_and_unload merge_lora merge_weights save_merged",
        on_resume=TAKES_EFFECT,
    )
