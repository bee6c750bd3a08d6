"""Small configurations of architectures: each that runs on the flat layout, and others, whose rows are padded."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, PretrainedConfig
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

OLD: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS: dict[str, Any] = {
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2, "moe_k": 2,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24, "shared_intermediate_size": 24, "decoder_sparse_step": 1,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "n_group": 2, "topk_group": 1,
    "first_k_dense_replace": 1, "num_key_value_heads": 4,
}  # fmt: skip

# Architectures whose rows are padded. A value of None removes what is usual.
PADDED: dict[str, dict[str, Any]] = {
    "biogpt": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "codegen": {**OLD, "n_ctx": 64, "rotary_dim": 4, "head_dim": None, "pad_token_id": None},
    "deepseek_v3": EXPERTS | LATENT,
    "ernie4_5_moe": EXPERTS,
    "falcon": {"head_dim": None},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {**OLD, "rotary_dim": 4, "head_dim": None},
    "gpt_oss": EXPERTS,
    "granitemoe": EXPERTS,
    "jamba": EXPERTS | {"mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_offset": 1, "use_mamba_kernels": False},
    "jetmoe": EXPERTS,
    "mamba": {"state_size": 4, "head_dim": None},
    "mamba2": {"state_size": 4, "num_heads": 8, "n_groups": 1, "expand": 2, "chunk_size": 8},
    "mixtral": EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "head_dim": None},
    "olmoe": EXPERTS,
    "phimoe": EXPERTS,
    "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS,
    "rwkv": {"attention_hidden_size": 32, "context_length": 64, "pad_token_id": None},
    "stablelm": {},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
}  # fmt: skip
DECODERS = (*ALLOWED, *PADDED)


def small_config(kind: str, **changes: Any) -> PretrainedConfig:
    """A small configuration of any of these architectures."""
    values = USUAL | SPECIAL.get(kind, {}) | PADDED.get(kind, {})
    if values.get("n_embd") or values.get("d_model"):  # names of their own for the usual sizes
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "num_key_value_heads",
        ):
            values.pop(name, None)
    return AutoConfig.for_model(
        kind, **{name: value for name, value in (values | changes).items() if value is not None}
    )


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
