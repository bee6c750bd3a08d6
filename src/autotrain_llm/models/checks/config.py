"""Whether a model can be built from its config.json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache

from autotrain_llm.declare.example import of_config_key
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import path_of
from autotrain_llm.models.checks.setting_types import torch_dtypes, wrong_types
from autotrain_llm.models.layers import LAYERS
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.models.package_source import source_of

COUNTS = (
    "hidden_size", "n_embd", "d_model", "num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head",
    "num_key_value_heads", "vocab_size", "intermediate_size", "max_position_embeddings", "n_positions",
    "head_dim",
)  # fmt: skip
ROPE_TABLE = re.compile(r"^ROPE_INIT_FUNCTIONS\b.*?^\}", re.MULTILINE | re.DOTALL)
ACTIVATION_TABLE = re.compile(r"^ACT2CLS\b.*?^\}", re.MULTILINE | re.DOTALL)
ACTIVATIONS = ("hidden_act", "activation_function", "hidden_activation", "activation")
# The further keys that each kind of RoPE scaling needs.
ROPE_NEEDS = {
    **dict.fromkeys(("linear", "dynamic", "yarn"), ("factor",)),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}
# Kinds that the configs of some architectures convert to one of the table.
OWN_ROPES = frozenset(["default", "su", "mrope", "axial"])


@rule("M128", blocks="model", example=of_config_key('"num_hidden_layers": ', '"num_hidden_layers": "two", "was": '))
def a_config_is_valid(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A config.json from which no model can be built: a size that is not a number, heads that don't divide the hidden size, an unknown RoPE scaling.

    Why: transformers fails when it builds the model, after everything else was prepared.
    Fix: the config.json of the original.
    """
    if metadata.config is None or metadata.model_type is None or metadata.custom_code:
        return
    faults = (_wrong_values, _no_dtype, _no_division, _no_positions, _no_padding, _no_activation)
    for fault in (fault for faults_of in faults for fault in faults_of(metadata)):
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: its config.json {fault}, and no model can be built from it",
            fix="take the config.json of the original",
            parameters=(parameter,),
            file=path_of(metadata.folder, "config.json"),
        )


def _wrong_values(metadata: ModelMetadata) -> Iterator[str]:
    """Settings of another type than transformers insists on, and sizes that are no positive numbers."""
    config = metadata.config or {}
    wrong = {
        name: f"gives {_short(value)} as {name}, which has to be {types}" for name, value, types in wrong_types(config)
    }
    for key in COUNTS:
        value = metadata.setting(key)
        is_count = isinstance(value, int | float) and 0 < value < math.inf and value == int(value)
        if isinstance(value, str | bool) or (isinstance(value, int | float) and not is_count):
            wrong.setdefault(key, f"gives {_short(value)} as {key}")
    return iter(wrong.values())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _no_dtype(metadata: ModelMetadata) -> Iterator[str]:
    name, known_dtypes = metadata.setting("dtype", "torch_dtype"), torch_dtypes()
    if isinstance(name, str) and known_dtypes and name not in known_dtypes:
        known = ("float32", "bfloat16", "float16")
        yield f"gives {_short(name)} as dtype, which the installed torch does not know ({', '.join(known)}, …)"


def _no_division(metadata: ModelMetadata) -> Iterator[str]:
    hidden, heads, keys = metadata.hidden_size, metadata.heads, metadata.number("num_key_value_heads")
    if not hidden or not heads or hidden <= 0 or heads <= 0 or metadata.setting("head_dim", "d_kv", "kv_channels"):
        return
    if hidden % heads:
        yield f"has hidden_size {hidden}, which is not divisible by num_attention_heads {heads}"
    elif keys and keys > 0 and heads % keys:
        yield f"has num_attention_heads {heads}, which is not divisible by num_key_value_heads {keys}"


def _no_positions(metadata: ModelMetadata) -> Iterator[str]:
    scaling = metadata.rope_scaling
    kind = scaling.get("rope_type", scaling.get("type")) if scaling else None
    known_kinds = _table("modeling_rope_utils.py", ROPE_TABLE)
    if isinstance(kind, str) and known_kinds and kind not in known_kinds | OWN_ROPES:
        yield f"scales its positions (rope_scaling) by {kind!r}, which the installed transformers does not know ({', '.join(sorted(known_kinds))})"
    elif scaling is not None and isinstance(kind, str):
        needed = ROPE_NEEDS.get(kind, ())
        missing = [key for key in needed if scaling.get(key) is None]
        texts = [key for key in needed if isinstance(scaling.get(key), str | bool)]
        if missing:
            yield f"scales its positions (rope_scaling) by {kind!r} without {' and '.join(missing)}"
        if texts:
            yield f"scales its positions (rope_scaling) by {kind!r} with {scaling[texts[0]]!r} as {texts[0]}, which must be a number"


def _no_padding(metadata: ModelMetadata) -> Iterator[str]:
    padding, tokens = metadata.number("pad_token_id"), metadata.vocab_size
    if padding is not None and tokens and padding >= tokens:
        yield f"gives {padding} as pad_token_id, beyond its vocab_size of {tokens}"


def _no_activation(metadata: ModelMetadata) -> Iterator[str]:
    """An activation function that transformers does not have, for architectures that look theirs up by name."""
    key = next((key for key in ACTIVATIONS if isinstance(metadata.setting(key), str)), None)
    known_activations = _table("activations.py", ACTIVATION_TABLE)
    if (
        key is not None
        and known_activations
        and metadata.model_type in LAYERS
        and metadata.setting(key) not in known_activations
    ):
        yield f"gives {metadata.setting(key)!r} as {key}, which the installed transformers does not know ({', '.join(sorted(known_activations))})"


@cache
def _table(file: str, pattern: re.Pattern[str]) -> frozenset[str]:
    """The keys of a table of the installed transformers, read as text; empty if there is none to read."""
    table = pattern.search(source_of("transformers", file))
    return frozenset(re.findall(r'^\s*"(\w+)":', table[0], re.MULTILINE)) if table else frozenset()
