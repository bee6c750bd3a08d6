"""Small local models and rows that several test files share. Nothing is downloaded."""

from __future__ import annotations

import json
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
