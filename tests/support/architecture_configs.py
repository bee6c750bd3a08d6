"""Small configurations for each architecture that runs on the flat layout."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from autotrain_llm.models.architectures import ALLOWED

VOCABULARY = 61

WINDOW = 7

USUAL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

# What an architecture needs besides, so that a window is shorter than the longest row, scales and softcaps bend, and nothing
# is dropped at random.
SPECIAL: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3, "sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "exaone4": {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma2": {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
        "attn_logit_softcapping": 0.7,
        "final_logit_softcapping": 0.4,
        "query_pre_attn_scalar": 5,
    },
    "gemma3_text": {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
        "final_logit_softcapping": 0.4,
        "query_pre_attn_scalar": 5,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    "gpt_bigcode": {
        "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0,
    },
    "granite": {"logits_scaling": 3.0, "attention_multiplier": 0.4, "residual_multiplier": 0.7, "embedding_multiplier": 2.0},
    "ministral": {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "ministral3": {"sliding_window": WINDOW},
    "mistral": {"sliding_window": WINDOW},
    "olmo3": {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 24, "dropout": 0.0},
    "phi3": {"sliding_window": WINDOW},
    "qwen2": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"sliding_window": WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    "smollm3": {"sliding_window": WINDOW, "use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]},
    "starcoder2": {"sliding_window": WINDOW},
}  # fmt: skip

# Their norms multiply by their weight in float32 whatever the model is in, and so sum its gradient in float32.
NORMS_IN_FLOAT32 = ("cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "helium")

# The attention that the separate rows run through: the library's own, or where that rounds to float32, the formula.
OWN = dict.fromkeys(ALLOWED, "sdpa") | {"gemma2": "written_out"}


def written_out(module, query, key, value, attention_mask, scaling, dropout=0.0, softcap=None, **unused):
    """Softcapped attention of gemma2, which transformers' sdpa leaves out."""
    key, value = (one.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for one in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    scores = torch.tanh(scores / softcap) * softcap + attention_mask
    return (scores.softmax(-1) @ value).transpose(1, 2), None


AttentionInterface.register("written_out", written_out)
AttentionMaskInterface.register("written_out", eager_mask)
