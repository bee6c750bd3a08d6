"""What GGUF files need to know of an architecture and a tokenizer, without torch and without the package `gguf`.

GGUF is the file of llama.cpp, which Ollama and others read too. A test writes a small model of each architecture, and compares the tokens
that llama.cpp generates with those of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NO_SCALING, LINEAR, LLAMA3, YARN = "default", "linear", "llama3", "yarn"
SCALINGS = (NO_SCALING, LINEAR, LLAMA3, YARN)

# For `--dtype`: ggml's names of the types that the package writes, and how many values of a row are quantised together.
GGUF_TYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q5_1": "Q5_1", "q5_0": "Q5_0", "q4_1": "Q4_1", "q4_0": "Q4_0"}  # fmt: skip
BLOCK = 32


@dataclass(frozen=True)
class GgufArchitecture:
    """How a model of transformers is written for llama.cpp.

    name: the architecture there. rotates_neighbours: its rotary embedding turns neighbouring values of queries and keys, where that of
    transformers turns the two halves of a head, so rows are reordered. adds_one_to_norms: transformers multiplies by 1 + weight.
    transposed: the ends of names of matrices that transformers stores as (in, out). interleaved: the ends of names of matrices that hold
    queries, keys and values head by head. numbers: keys of the file for numbers of config.json. has_sliding_window: it attends to a window in the same layers.
    names_window: the file has to name a window, although none is computed. norm_epsilon: what is added to a variance, where
    config.json doesn't say. state_space: it has no attention, but recurrent layers of this version. requires: settings of config.json that are computed with
    these values alone, with their defaults.
    """

    name: str
    rotates_neighbours: bool = False
    adds_one_to_norms: bool = False
    transposed: tuple[str, ...] = ()
    interleaved: tuple[str, ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    has_sliding_window: bool = False
    names_window: bool = False
    norm_epsilon: float | None = None
    state_space: int | None = None
    requires: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


SOFTCAPS = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
GRANITE = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}

# Settings that are computed with one value alone: name in config.json, that value or the setting that has it, and the one where config.json has none.
EVERY_LAYER: dict[str, tuple[Any, Any]] = {"decoder_sparse_step": (1, 1), "mlp_only_layers": ([], [])}
OLMOE: dict[str, tuple[Any, Any]] = {
    "norm_topk_prob": (False, False),
    "num_key_value_heads": ("num_attention_heads", None),
}
MAMBA: dict[str, tuple[Any, Any]] = {
    "use_bias": (False, False),
    "use_conv_bias": (True, True),
    "hidden_act": ("silu", "silu"),
}
MAMBA2: dict[str, tuple[Any, Any]] = {**MAMBA, "rms_norm": (True, True)}

ARCHITECTURES: dict[str, GgufArchitecture] = {
    "arcee": GgufArchitecture("arcee", rotates_neighbours=True),
    "cohere": GgufArchitecture("command-r", numbers={"logit_scale": "logit_scale"}),
    "ernie4_5": GgufArchitecture("ernie4_5"),
    "falcon_mamba": GgufArchitecture("mamba", state_space=1, requires=MAMBA),
    "gemma": GgufArchitecture("gemma", adds_one_to_norms=True),
    "gemma2": GgufArchitecture("gemma2", adds_one_to_norms=True, numbers=SOFTCAPS, has_sliding_window=True),
    "gemma3_text": GgufArchitecture("gemma3", adds_one_to_norms=True, has_sliding_window=True),
    "gpt2": GgufArchitecture("gpt2", transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight")),
    "gpt_neox": GgufArchitecture("gptneox", interleaved=("query_key_value.weight", "query_key_value.bias")),
    "granite": GgufArchitecture("granite", rotates_neighbours=True, numbers=GRANITE),
    "granitemoe": GgufArchitecture("granitemoe", rotates_neighbours=True, numbers=GRANITE),
    "llama": GgufArchitecture("llama", rotates_neighbours=True),
    "mamba": GgufArchitecture("mamba", state_space=1, requires=MAMBA),
    "mamba2": GgufArchitecture("mamba2", state_space=2, requires=MAMBA2),
    "mistral": GgufArchitecture("llama", rotates_neighbours=True),
    "mixtral": GgufArchitecture("llama", rotates_neighbours=True),
    "olmo": GgufArchitecture("olmo", rotates_neighbours=True, norm_epsilon=1e-5),
    "olmo2": GgufArchitecture("olmo2"),
    "olmoe": GgufArchitecture("olmoe", requires=OLMOE),
    "phi": GgufArchitecture("phi2"),
    "phi3": GgufArchitecture("phi3", names_window=True),
    "qwen2": GgufArchitecture("qwen2"),
    "qwen2_moe": GgufArchitecture("qwen2moe", requires={**EVERY_LAYER, "norm_topk_prob": (False, False)}),
    "qwen3": GgufArchitecture("qwen3"),
    "qwen3_moe": GgufArchitecture("qwen3moe", requires={**EVERY_LAYER, "norm_topk_prob": (True, False)}),
    "seed_oss": GgufArchitecture("seed_oss"),
    "smollm3": GgufArchitecture("smollm3", rotates_neighbours=True),
    "stablelm": GgufArchitecture("stablelm"),
    "starcoder2": GgufArchitecture("starcoder2"),
}


def unlike(config: Mapping[str, Any], architecture: GgufArchitecture) -> tuple[str, Any, Any] | None:
    """The first setting of a config.json that llama.cpp computes with another value alone: its name, its value and that one."""
    for name, (computed, default) in architecture.requires.items():
        value, needed = (
            config.get(name, default),
            config.get(computed, computed) if isinstance(computed, str) else computed,
        )
        if value is not None and value != needed:
            return name, value, needed
    return None


@dataclass(frozen=True)
class GgufTokenizer:
    """A tokenizer as llama.cpp knows it: `model` is `gpt2` (byte-level BPE) or `llama` (SentencePiece), `pre` how a text is split before that."""

    model: str
    pre: str
    adds_space: bool = False


# Splits before byte-level BPE by llama.cpp's name of each: the same regular expressions as of the tokenizers they are named after.
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLITS: dict[str, str | Mapping[str, Any]] = {
    "gpt-2": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    },
    "llama-bpe": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen35": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "gpt-4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
# The names for splits of llama.cpp that take a whole word that is a token before they merge, and the one that merges all the same.
IGNORES_MERGES = {"llama-bpe": "dbrx"}

# Texts in which the splits differ: numbers, contractions, spaces and line ends, signs, scripts.
PROBES = (
    "It's 12345 o'clock, DON'T we'LL I'd 3.14 7x7  two   spaces\t\ttabs\n\n\nlines \r\n end  ",
    "HelloWorld camelCase snake_case /path/to\n\n//comment\n {json: [1,2]} …!!!\n?? $5 100% a1b2",
    "Größe naïve Ωμέγα привет мир 東京 タワー 한국어 नमस्ते संस्कृतम् العَرَبِيَّة ไทย é 😀👩‍💻 ½ ² ⅷ ٣٤٥",
)


def tokenizer_for_gguf(tokenizer_json: Mapping[str, Any]) -> GgufTokenizer | str:
    """How llama.cpp has to be told of a tokenizer (the content of tokenizer.json), or the reason why it can't be."""
    model = tokenizer_json.get("model") or {}
    if model.get("type") != "BPE":
        return f"its tokenizer is a {model.get('type') or 'kind of its own'}, and only BPE is written"
    if model.get("byte_fallback"):
        return GgufTokenizer("llama", "default", _adds_space(tokenizer_json))
    if "ByteLevel" not in json.dumps(tokenizer_json.get("pre_tokenizer")):
        return "its tokenizer is neither a byte-level BPE nor one with byte fallback"
    pre = _split_of(tokenizer_json["pre_tokenizer"])
    if pre is None:
        return f"llama.cpp has no name for the way in which its tokenizer splits a text (known: {', '.join(SPLITS)})"
    if pre in IGNORES_MERGES and not model.get("ignore_merges"):
        pre = IGNORES_MERGES[pre]
    return GgufTokenizer("gpt2", pre)


def _split_of(pre_tokenizer: Mapping[str, Any]) -> str | None:
    """The name of the split that cuts the probes in the same places."""
    own = _pieces(pre_tokenizer)
    return next((name for name, split in SPLITS.items() if _pieces(_as_pre_tokenizer(split)) == own), None)


def _as_pre_tokenizer(split: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry of a tokenizer.json for a regular expression."""
    if not isinstance(split, str):
        return split
    regex = {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [regex, level]}


def _pieces(pre_tokenizer: Mapping[str, Any]) -> list[list[str]]:
    from tokenizers import Tokenizer

    model = {"type": "BPE", "vocab": {}, "merges": []}
    document = {"version": "1.0", "added_tokens": [], "pre_tokenizer": pre_tokenizer, "model": model}
    splitter = Tokenizer.from_str(json.dumps(document)).pre_tokenizer
    return [[piece for piece, _ in splitter.pre_tokenize_str(probe)] for probe in PROBES]


def _adds_space(tokenizer_json: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text, as SentencePiece does by default."""
    text = json.dumps([tokenizer_json.get("normalizer"), tokenizer_json.get("pre_tokenizer")], ensure_ascii=False)
    return '"Prepend"' in text or '"prepend_scheme": "always"' in text or '"prepend_scheme": "first"' in text


@dataclass(frozen=True)
class TokenList:
    """The tokens of a GGUF file by id, with ggml's type of each and, for a SentencePiece model, the score by which it is merged."""

    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def token_list(tokenizer_json: Mapping[str, Any], rows: int, kind: GgufTokenizer) -> TokenList:
    """The tokens for an embedding of this many rows; rows without a token are named [PAD…]."""
    model = tokenizer_json["model"]
    added = {int(one["id"]): one for one in tokenizer_json.get("added_tokens") or []}
    names = {int(number): token for token, number in model["vocab"].items()}
    names |= {number: one["content"] for number, one in added.items()}
    merges = [one if isinstance(one, str) else " ".join(one) for one in model.get("merges") or []]
    is_bytes = kind.model == "llama"
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges if is_bytes else ()):
        ranks.setdefault("".join(merge.split(" ", 1)), rank)
    result = TokenList(merges=[] if is_bytes else merges)
    for number in range(rows):
        token = names.get(number)
        if token is None:
            name, type_ = f"[PAD{number}]", UNUSED
        elif number in added:
            name, type_ = token, CONTROL if added[number].get("special") else USER_DEFINED
        elif is_bytes and len(token) == 6 and token.startswith("<0x"):
            name, type_ = token, BYTE
        else:
            name, type_ = token, NORMAL
        if token is not None and token == model.get("unk_token") and is_bytes:
            type_ = UNKNOWN
        result.tokens.append(name)
        result.types.append(type_)
        # What is merged first has the highest score; single characters, which are never merged, have the lowest.
        result.scores.append(-float(ranks.get(name, len(merges))) if type_ == NORMAL else 0.0)
    return result
