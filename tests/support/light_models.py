"""Models as files alone: what a check reads, made without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from support.rows import questions

LIGHT_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "dtype": "float32",
}


LIGHT_MODULES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (8, 16),
    "self_attn.v_proj": (8, 16),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (32, 16),
    "mlp.up_proj": (32, 16),
    "mlp.down_proj": (16, 32),
    "intermediate.dense": (32, 16),
    "output.dense": (16, 32),
}


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]], fill: bytes = b"\0\0\0\0") -> Path:
    """A safetensors file of float32 tensors that all hold the same number."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + fill * (end // 4))
    return path


def build_light_model(folder: Path, **changes: Any) -> Path:
    """The files of a Llama and its tokenizer; a classifier gets a head with one row a label."""
    from autotrain_llm.models.scratch import train_tokenizer

    folder.mkdir(parents=True)
    tokenizer = train_tokenizer((turn["content"] for row in questions(64) for turn in row["messages"]), folder)
    size = tokenizer.vocab_size
    config = {**LIGHT_LLAMA, "vocab_size": size, **changes}
    shapes = light_shapes(config["model_type"], size)
    if config["architectures"][0].endswith("ForSequenceClassification"):
        head = "score" if config["model_type"] == "llama" else "classifier"
        shapes[f"{head}.weight"] = (len(config["id2label"]), 16)
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder / "model.safetensors", shapes, fill=b"\0\0\x80\x3f")  # the number 1
    return folder


def light_shapes(kind: str, size: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a model with one layer, under the names that its architecture has; those of a Llama where that is not known."""
    from autotrain_llm.models.layers import LAYERS

    layers = LAYERS.get(kind, LAYERS["llama"])
    prefix = layers.at.partition(".")[0]
    words = "embeddings.word_embeddings" if ".encoder." in layers.at else "embed_tokens"
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}.{words}.weight": (size, 16)}
    for name in layers.needed():
        usual = (16,) if "norm" in name else (16, 16)
        shapes[f"{layers.at}0.{name}.weight"] = LIGHT_MODULES.get(name, usual)
    return shapes
