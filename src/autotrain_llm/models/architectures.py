"""Architectures whose attention keeps the rows of one stream apart, and what their heads compute.

Pure data, so that a plan can decide on the batch layout without importing torch. A test runs each entry packed and row by row; rows of any
other architecture are padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """What the head computes besides a matrix product: the config keys of its scale and softcap."""

    multiplied_by: str | None = None
    divided_by: str | None = None
    softcapped_by: str | None = None


PLAIN = Architecture()

ALLOWED: dict[str, Architecture] = {
    "apertus": PLAIN,
    "arcee": PLAIN,
    "cohere": Architecture(multiplied_by="logit_scale"),
    "cohere2": Architecture(multiplied_by="logit_scale"),
    "ernie4_5": PLAIN,
    "exaone4": PLAIN,
    "gemma": PLAIN,
    "gemma2": Architecture(softcapped_by="final_logit_softcapping"),
    "gemma3_text": Architecture(softcapped_by="final_logit_softcapping"),
    "glm": PLAIN,
    "glm4": PLAIN,
    "gpt2": PLAIN,
    "gpt_bigcode": PLAIN,
    "gpt_neox": PLAIN,
    "granite": Architecture(divided_by="logits_scaling"),
    "helium": PLAIN,
    "hunyuan_v1_dense": PLAIN,
    "llama": PLAIN,
    "ministral": PLAIN,
    "ministral3": PLAIN,
    "mistral": PLAIN,
    "olmo": PLAIN,
    "olmo2": PLAIN,
    "olmo3": PLAIN,
    "opt": PLAIN,
    "persimmon": PLAIN,
    "phi": PLAIN,
    "phi3": PLAIN,
    "qwen2": PLAIN,
    "qwen3": PLAIN,
    "seed_oss": PLAIN,
    "smollm3": PLAIN,
    "starcoder2": PLAIN,
}

# Mixtures of experts that transformers fuses when it loads them, and whose experts PEFT adapts by the names of single experts' matrices.
EXPERTS_WITH_LORA = frozenset(
    [
        "afmoe",
        "beam",
        "cohere2_moe",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "dots1",
        "ernie4_5_moe",
        "exaone_moe",
        "flex_olmo",
        "glm4_moe",
        "glm4_moe_lite",
        "glm_moe_dsa",
        "hunyuan_v1_moe",
        "longcat_flash",
        "mellum",
        "minimax",
        "minimax_m2",
        "mixtral",
        "olmoe",
        "qwen3_moe",
        "qwen3_next",
        "solar_open",
    ]
)

# State-space models whose kernels read these matrices without calling their modules, so that PEFT refuses an adapter on them.
MIXERS = frozenset(["falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"])
WITHOUT_LORA = ("out_proj", "conv1d")

# Config keys with which an allowed architecture's attention bypasses the registered function, and the reason.
UNDOING = {
    "use_bidirectional_attention": "attends in both directions",
    "reorder_and_upcast_attn": "computes its attention itself",
    "add_cross_attention": "attends to an encoder",
    "is_encoder_decoder": "is an encoder and a decoder",
}


def keeps_rows_apart(config: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the attention of a model with this config.json stays inside segments, and if not, why not."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ALLOWED:
        return (
            False,
            f"for the architecture {kind} it is not verified that attention keeps packed rows apart",
        )
    for name, what in UNDOING.items():
        if config.get(name):
            return False, f"this {kind} {what} ({name})"
    return True, ""
