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
LARGEST = 300 * UNITS["b"]
TOLERANCE = 0.15
NARROWEST = 32
# Steps of 16 where one of 32 would be half of the width.
WIDTHS = (NARROWEST, *range(48, 128, 16), *range(128, 256, 32), *range(256, 1024, 64), *range(1024, 16385, 256))

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
    size = float(match[1]) * UNITS.get(match[2], 1) if match else 0
    if not 1 <= size <= LARGEST:
        flag = flag_of(parameter)
        message = f"{flag} {name}: a size is needed, a number with k, m or b, up to {show_size(LARGEST)}"
        raise Refused([NO_SIZE.finding(message, f"{flag} scratch:1m", (parameter,))])
    return round(size)


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
    """The arguments of a LlamaConfig of about that many parameters (within 15 %), about half as many layers as the square root of its width.

    `vocab_size` is rounded up to a multiple of 16. Raises Refused when the vocabulary leaves no room for layers.
    """
    shape = _best_shape(parameters, math.ceil(vocab_size / 16) * 16)
    if shape is None:
        raise Refused([vocabulary_too_large(parameters, vocab_size)])
    return {**shape, "max_position_embeddings": context}


def vocabulary_too_large(parameters: int, vocab_size: int) -> Finding:
    """A new model too small for its vocabulary: the embedding of every width leaves too few parameters for layers, or too many."""
    rows = math.ceil(vocab_size / 16) * 16
    # The narrowest model is 32 wide; what its embedding takes is where to begin looking for a size that works.
    larger = (parse_size(show_size(rows * NARROWEST * tenths // 10)) for tenths in range(11, 100))
    enough = next(size for size in larger if size > parameters and _best_shape(size, rows) is not None)
    return VOCABULARY_TOO_LARGE.finding(
        f"--model scratch:{show_size(parameters)} is too small for its vocabulary: "
        f"{vocab_size} tokens leave no room for layers",
        changes={"model": f"scratch:{show_size(enough)}"},
        otherwise="or a smaller --tokenizer",
        parameters=("model",),
    )


def _best_shape(parameters: int, vocab_size: int) -> dict[str, Any] | None:
    """The shape of the width that suits this size best; None if none comes within 15 %.

    Which width suits is decided before the layers are counted, so that a larger model is not narrower.
    """
    tied = parameters < 1_000_000_000
    shapes = (_with_width(width, vocab_size, tied) for width in WIDTHS)
    for shape in sorted(shapes, key=lambda shape: _unsuitability(shape, parameters)):
        usual = usual_depth(shape["hidden_size"])
        exact = (parameters - _size(shape, 0)) / (_size(shape, 1) - _size(shape, 0))
        if exact < 1:
            continue
        layers = min(max(round(exact), 2, math.ceil(usual / 2)), math.floor(1.5 * usual))
        inner = _inner_width(shape, layers, parameters)
        if inner is not None:
            return {**shape, "intermediate_size": inner, "num_hidden_layers": layers}
    return None


def _inner_width(shape: dict[str, Any], layers: int, parameters: int) -> int | None:
    """The width of the MLPs: the usual one, or what comes closest to the size, from two to four times the model's width."""
    hidden, usual = shape["hidden_size"], shape["intermediate_size"]

    def error(inner: int) -> float:
        return abs(_size({**shape, "intermediate_size": inner}, layers) / parameters - 1)

    inner = usual if error(usual) <= TOLERANCE else min(range(2 * hidden, 4 * hidden + 1, 32), key=error)
    return inner if error(inner) <= TOLERANCE else None


def usual_depth(width: int) -> float:
    """The number of layers of a model of this width: 4 at 64, 8 at 256, 16 at 1024, 32 at 4096, about that of GPT-2 and Llama."""
    return math.sqrt(width) / 2


def _unsuitability(shape: dict[str, Any], parameters: int) -> float:
    """How far the size of the usual model of this width is from `parameters`, as a ratio on a logarithmic scale. Widths of whole heads of 32
    are preferred."""
    usual = usual_depth(shape["hidden_size"])
    size = _size(shape, 0) + usual * (_size(shape, 1) - _size(shape, 0))
    return abs(math.log(parameters / size)) + (0.3 if shape["hidden_size"] % 32 else 0)


def _size(shape: dict[str, Any], layers: int) -> int:
    return count_parameters({**shape, "num_hidden_layers": layers})


def _with_width(hidden: int, vocab_size: int, tied: bool) -> dict[str, Any]:
    head = 64 if hidden >= 256 and hidden % 64 == 0 else 32 if hidden % 32 == 0 else 16
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
