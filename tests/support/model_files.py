"""Model folders made of files alone, and what the checks say of them."""

from __future__ import annotations

import json
import math

from autotrain_llm.models.checks.every import check_model
from autotrain_llm.models.locate import locate
from autotrain_llm.models.metadata import read_metadata

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "dtype": "bfloat16",
}

ADAPTED = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"

PROJECTIONS = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (4, 8),
    "self_attn.v_proj": (4, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (16, 8),
    "mlp.up_proj": (16, 8),
    "mlp.down_proj": (8, 16),
}


def llama_shapes(rows=10, layers=2):
    shapes = {"model.embed_tokens.weight": (rows, 8), "lm_head.weight": (rows, 8), "model.norm.weight": (8,)}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in PROJECTIONS.items()}
        shapes |= {
            f"model.layers.{layer}.{name}.weight": (8,) for name in ("input_layernorm", "post_attention_layernorm")
        }
    return shapes


def write_model(folder, config=LLAMA, shapes=None, tokens=10, **more):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config, **more}))
    write_safetensors(folder / "model.safetensors", shapes or llama_shapes())
    vocabulary = {f"t{number}": number for number in range(tokens)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    return folder


def write_adapter(folder, base, shapes=None, **config):
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "base_model_name_or_path": str(base), **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    write_safetensors(folder / "adapter_model.safetensors", shapes or {ADAPTED: (2, 8)})
    return folder


def facts_of(folder):
    return read_metadata(locate(str(folder), offline=True))


def codes(folder, trainer="sft", **settings):
    return [finding.code for finding in check_model(facts_of(folder), trainer, **settings)]


def only(folder, **settings):
    """The one finding that a model draws."""
    (finding,) = check_model(facts_of(folder), "sft", **settings)
    return finding


def write_safetensors(path, shapes, fill=b"\1"):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + fill * end)
