"""Small local models and rows that several test files share. Nothing is downloaded."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests run side by side on few cores: one thread each, and nothing that could reach a network.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
    "CUDA_VISIBLE_DEVICES": "",
}.items():
    os.environ.setdefault(name, value)

COLOURS = ["red", "blue", "green", "yellow", "black", "white", "brown", "pink"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(count: int) -> list[dict[str, Any]]:
    """Conversations that a tiny model can learn: the answer repeats a word of the question."""
    rows = []
    for number in range(count):
        colour, other = COLOURS[number % 8], COLOURS[(number // 8) % 8]
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"Number {number}: which comes first, {colour} or {other}?"},
                    {"role": "assistant", "content": f"{colour} comes first."},
                ]
            }
        )
    return rows


@pytest.fixture
def chat_rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "chat.jsonl", questions(48))


@pytest.fixture
def text_rows(tmp_path: Path) -> Path:
    texts = [
        f"Line {number}. The {COLOURS[number % 8]} one goes before the {COLOURS[number % 5]} one."
        for number in range(48)
    ]
    return write_rows(tmp_path / "text.jsonl", [{"text": text} for text in texts])


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of a few thousand parameters with a chat template."""
    return build_llama(tmp_path_factory.mktemp("models") / "llama", TEMPLATE)


def build_llama(folder: Path, template: str | None, **changes: Any) -> Path:
    """Write a tiny Llama with random weights and a byte-level tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    words = [row["messages"][turn]["content"] for row in questions(64) for turn in (0, 1)]
    raw.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=256
    )
    tokenizer.chat_template = template
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    LlamaForCausalLM(LlamaConfig(**{**shape, **changes})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Prepared rows are cached in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


# ---- models as files alone: what a check reads, made without torch

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


@pytest.fixture(scope="session")
def light_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that can be checked and not be loaded; its context is 2048 tokens."""
    return build_light_model(tmp_path_factory.mktemp("light") / "llama")


@pytest.fixture(scope="session")
def light_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second Llama, on the same tokenizer, with other weights."""
    folder = build_light_model(tmp_path_factory.mktemp("light") / "teacher")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\x40")  # the number 2
    return folder


@pytest.fixture(scope="session")
def light_scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of one score."""
    return build_light_model(
        tmp_path_factory.mktemp("light") / "scorer",
        architectures=["LlamaForSequenceClassification"],
        id2label={"0": "LABEL_0"},
    )


@pytest.fixture(scope="session")
def light_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder: it can score and not generate."""
    return build_light_model(
        tmp_path_factory.mktemp("light") / "encoder", model_type="bert", architectures=["BertForMaskedLM"]
    )
