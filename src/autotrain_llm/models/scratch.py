"""`scratch:SIZE`: the shape of a new Llama-architecture model, and a tokenizer trained on the data.

No side effects, except the folder that `train_tokenizer` writes. The model itself is built in `run/`, from the shape that `choose_shape`
returns.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.findings import NO_SIZE, VOCABULARY_TOO_LARGE

PREFIX = "scratch:"
UNITS = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
TOLERANCE = 0.15

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, TURN_START, TURN_END)
ROLES = ("system", "user", "assistant", "tool")
# The special tokens come first in every vocabulary, so their ids never depend on the data.
# A document starts where another ends: one token is both, and generation also stops at the end of a turn.
TOKEN_IDS: dict[str, int | list[int]] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
GENERATION_IDS: dict[str, int | list[int]] = {**TOKEN_IDS, "eos_token_id": [3, 0]}

SMALLEST_VOCABULARY = 512
LARGEST_VOCABULARY = 32_768
# Text to train a tokenizer on: merges from the first 64 MB hardly change with more.
LARGEST_SAMPLE_BYTES = 64_000_000

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


# --- the size -------------------------------------------------------------------------------------------------------


def is_scratch(name: str) -> bool:
    """Whether `--model` asks for a new model."""
    return name.startswith(PREFIX)


def parse_size(name: str, parameter: str = "model") -> int:
    """The number of parameters that `scratch:1m` asks for. Raises Refused if it has no valid size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", name.removeprefix(PREFIX).strip().lower())
    size = round(float(match[1]) * UNITS.get(match[2], 1)) if match else 0
    if size <= 0:
        flag = flag_of(parameter)
        message = f"{flag} {name}: a size is needed, a number with k, m or b"
        raise Refused([NO_SIZE.finding(message, f"{flag} scratch:1m", (parameter,))])
    return size


def show_size(parameters: int) -> str:
    """A parameter count in short form: 985000 is `985k`, 25_000_000 is `25m`."""
    for unit, factor in (("b", UNITS["b"]), ("m", UNITS["m"])):
        if parameters >= factor:
            return f"{parameters / factor:.3g}{unit}"
    return f"{math.ceil(parameters / 1000)}k"


# --- the shape ------------------------------------------------------------------------------------------------------


def count_parameters(shape: dict[str, Any]) -> int:
    """The number of parameters of a LlamaForCausalLM of this shape; tied embeddings count once."""
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    keys = hidden // heads * shape["num_key_value_heads"]
    attention = 2 * hidden * hidden + 2 * hidden * keys
    layer = attention + 3 * hidden * shape["intermediate_size"] + 2 * hidden
    tables = 1 if shape["tie_word_embeddings"] else 2
    return int(tables * shape["vocab_size"] * hidden + shape["num_hidden_layers"] * layer + hidden)


def tensor_shapes(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors of a LlamaForCausalLM of this shape, as it is saved: a tied head is not stored by itself."""
    hidden, inner, rows = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    keys = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden), "model.norm.weight": (hidden,)}
    for index in range(shape["num_hidden_layers"]):
        tensors |= {f"model.layers.{index}.{module}.weight": size for module, size in layer.items()}
    return tensors if shape["tie_word_embeddings"] else {**tensors, "lm_head.weight": (rows, hidden)}


def choose_shape(parameters: int, vocab_size: int, context: int) -> dict[str, Any]:
    """The arguments of a LlamaConfig of about that many parameters (within 15 %).

    `vocab_size` is rounded up to a multiple of 16. Raises Refused when the vocabulary leaves no room for layers.
    """
    rows = math.ceil(vocab_size / 16) * 16
    candidates = _close_candidates(parameters, rows)
    if not candidates:
        raise Refused([vocabulary_too_large(parameters, vocab_size)])
    best = min(candidates, key=lambda shape: _cost(shape, parameters))
    return {**best, "max_position_embeddings": context}


def vocabulary_too_large(parameters: int, vocab_size: int) -> Finding:
    """A new model too small for its vocabulary: even the narrowest embedding leaves no parameters for layers."""
    rows = math.ceil(vocab_size / 16) * 16
    # The narrowest model is 32 wide; what its embedding takes is where to begin looking for a size that works.
    larger = (show_size(rows * 32 * tenths // 10) for tenths in range(11, 100))
    enough = next(size for size in larger if _close_candidates(parse_size(size), rows))
    return VOCABULARY_TOO_LARGE.finding(
        f"--model scratch:{show_size(parameters)} is too small for its vocabulary: "
        f"{vocab_size} tokens leave no room for layers",
        changes={"model": f"scratch:{enough}"},
        otherwise="or a smaller --tokenizer",
        parameters=("model",),
    )


def _close_candidates(parameters: int, vocab_size: int) -> list[dict[str, Any]]:
    shapes = _candidates(parameters, vocab_size)
    return [shape for shape in shapes if _size_error(shape, parameters) <= TOLERANCE]


def _candidates(parameters: int, vocab_size: int) -> Iterator[dict[str, Any]]:
    tied = parameters < 1_000_000_000
    for hidden in (*range(32, 512, 32), *range(512, 1024, 64), *range(1024, 16385, 256)):
        shape = _with_width(hidden, vocab_size, tied)
        layer = count_parameters({**shape, "num_hidden_layers": 1}) - count_parameters(
            {**shape, "num_hidden_layers": 0}
        )
        exact_layers = (parameters - count_parameters({**shape, "num_hidden_layers": 0})) / layer
        for layers in {math.floor(exact_layers), math.ceil(exact_layers)}:
            if 2 <= layers <= 128:
                yield {**shape, "num_hidden_layers": layers}


def _with_width(hidden: int, vocab_size: int, tied: bool) -> dict[str, Any]:
    head = 64 if hidden >= 256 and hidden % 64 == 0 else 32
    heads = hidden // head
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": math.ceil(hidden * 8 / 3 / 32) * 32,
        "num_attention_heads": heads,
        # Fewer keys than queries pay where the cache is large; a small model needs all it has.
        "num_key_value_heads": heads // 4 if hidden >= 1024 and heads % 4 == 0 else heads,
        "tie_word_embeddings": tied,
    }


def _size_error(shape: dict[str, Any], parameters: int) -> float:
    return abs(count_parameters(shape) - parameters) / parameters


def _cost(shape: dict[str, Any], parameters: int) -> float:
    """How far a shape is from the usual: width 48 times the depth in a small model, 128 times at 7B; at least four layers."""
    ratio = 48 * max(1.0, parameters / 25_000_000) ** 0.17
    slenderness = abs(math.log(shape["hidden_size"] / shape["num_hidden_layers"] / ratio))
    shallow: int = max(0, 4 - shape["num_hidden_layers"])
    return slenderness + 4 * _size_error(shape, parameters) + 2 * shallow


# --- the tokenizer --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer written to `folder`: its vocabulary size, and the text it was trained on."""

    folder: Path
    vocab_size: int
    texts: int
    sample_bytes: int


def choose_vocabulary(data_bytes: int) -> int:
    """The vocabulary size for a text of that many bytes: the next power of two above four times its square root. 512 up to 16 kB, 4096 at
    one megabyte, 32768 from 64 MB on."""
    rounded: int = 2 ** math.ceil(math.log2(max(4 * math.sqrt(data_bytes), 1)))
    return min(LARGEST_VOCABULARY, max(SMALLEST_VOCABULARY, rounded))


def train_tokenizer(texts: Iterator[str], folder: Path) -> TrainedTokenizer:
    """Train a byte-level BPE on the texts and write it to `folder` as AutoTokenizer reads it.

    The same texts give the same tokenizer, whatever the model: only the amount of text decides on the vocabulary.
    """
    sample, sample_bytes = _take_sample(texts)
    tokenizer = _train(sample, choose_vocabulary(sample_bytes))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_settings(folder)
    return TrainedTokenizer(folder, tokenizer.get_vocab_size(), len(sample), sample_bytes)


def _take_sample(texts: Iterator[str]) -> tuple[list[str], int]:
    sample: list[str] = []
    sample_bytes = 0
    for text in texts:
        sample.append(text)
        sample_bytes += len(text.encode("utf-8", errors="replace"))
        if sample_bytes >= LARGEST_SAMPLE_BYTES:
            break
    return sample, sample_bytes


def _train(sample: list[str], vocabulary: int) -> Any:  # a tokenizers.Tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # Single digits, then words and runs of signs as GPT-2 splits them: what llama.cpp calls smollm.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # The template writes a role before each turn: counted as often as there are texts, each role becomes one token.
    role_lines = ["\n".join(ROLES)] * max(2, len(sample))
    tokenizer.train_from_iterator([*sample, *role_lines], trainer)
    return tokenizer


def _write_settings(folder: Path) -> None:
    names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "additional_special_tokens": [TURN_START, TURN_END],
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write_json(folder / "tokenizer_config.json", settings)
    _write_json(folder / "special_tokens_map.json", {**names, "additional_special_tokens": [TURN_START, TURN_END]})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
