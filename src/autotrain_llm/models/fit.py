"""Whether the parts of a model go together: its config with its weights, an adapter with its base. One function per kind of fault.

All of it would be found by loading the model, minutes later or never: what weights don't hold is filled with random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.metadata import EMBEDDING, ModelFacts

LAYER = re.compile(r"^(.*?\b(?:layers|layer|h|blocks)\.)(\d+)\.")
COUNTS = (
    "hidden_size", "n_embd", "d_model", "num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head",
    "num_key_value_heads", "vocab_size", "intermediate_size", "max_position_embeddings", "n_positions",
)  # fmt: skip
ROPE_TABLE = re.compile(r"^ROPE_INIT_FUNCTIONS\b.*?^\}", re.MULTILINE | re.DOTALL)
# Kinds that configs of single architectures turn into one of the table's.
OWN_ROPES = frozenset(["default", "su", "mrope", "axial"])
PROMPT_ADAPTERS = frozenset(["PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CARTRIDGE"])
HEAD = re.compile(r"lm_head|embed_out|output_projection|(?:^|\.)output\.")
ADAPTED = re.compile(r"^base_model\.model\.(.+)\.lora_([AB])(?:\.\w+)?\.weight$")


def impossible_config(facts: ModelFacts, *, parameter: str = "model") -> Iterator[Finding]:
    """A config.json from which no model can be built: a size that is no number, heads that don't divide, positions of an unknown kind.

    Why: the library refuses it while it builds the model, after everything else was prepared.
    Fix: the config.json of the original.
    """
    if facts.config is None or facts.model_type is None or facts.custom_code:
        return
    for fault in (*_no_numbers(facts), *_no_division(facts), *_no_positions(facts), *_no_padding(facts)):
        message = f"{flag_of(parameter)} {facts.name}: its config.json {fault}, and no model can be built from it"
        fix = "take the config.json of the original"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_config_file(facts))


def _no_numbers(facts: ModelFacts) -> Iterator[str]:
    for key in COUNTS:
        value = facts.setting(key)
        if isinstance(value, str | bool) or (isinstance(value, int | float) and value <= 0):
            yield f"gives {value!r} as {key}"


def _no_division(facts: ModelFacts) -> Iterator[str]:
    hidden, heads, keys = facts.hidden_size, facts.heads, facts.number("num_key_value_heads")
    if not hidden or not heads or hidden <= 0 or heads <= 0 or facts.setting("head_dim", "d_kv", "kv_channels"):
        return
    if hidden % heads:
        yield f"shares hidden_size {hidden} among num_attention_heads {heads}, which leaves a rest"
    elif keys and keys > 0 and heads % keys:
        yield f"shares num_attention_heads {heads} among num_key_value_heads {keys}, which leaves a rest"


def _no_positions(facts: ModelFacts) -> Iterator[str]:
    scaling = facts.rope_scaling
    kind = scaling.get("rope_type", scaling.get("type")) if scaling else None
    known = _ropes()
    if isinstance(kind, str) and known and kind not in known | OWN_ROPES:
        yield f"stretches positions (rope_scaling) by {kind!r}, which the installed transformers doesn't know ({', '.join(sorted(known))})"


def _no_padding(facts: ModelFacts) -> Iterator[str]:
    padding, words = facts.number("pad_token_id"), facts.vocab_size
    if padding is not None and words and padding >= words:
        yield f"gives {padding} as pad_token_id, beyond its embedding of vocab_size {words}"


@cache
def _ropes() -> frozenset[str]:
    """How the installed transformers can stretch positions, read from its table as text; empty where there is no table to read."""
    from importlib.util import find_spec

    spec = find_spec("transformers")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "modeling_rope_utils.py")
        found = ROPE_TABLE.search(path.read_text(encoding="utf-8")) if path.exists() else None
        if found:
            return frozenset(re.findall(r'^\s*"(\w+)":', found[0], re.MULTILINE))
    return frozenset()


def weights_of_another_shape(facts: ModelFacts, *, parameter: str = "model") -> Iterator[Finding]:
    """Weights and config.json that tell of models of different size: another vocabulary, another width, layers that are not there.

    Why: sizes that differ are refused while the weights load; layers that are not in the files get random numbers, with no more than a
    line in the log.
    Fix: the config.json that the weights were saved with.
    """
    if facts.config is None or not facts.tensors or facts.weights.missing or facts.custom_code:
        return
    for config, weights in (*_embedding(facts), *_projections(facts), *_layers(facts), *_rounded(facts)):
        message = f"{flag_of(parameter)} {facts.name}: config.json and weights don't fit: {config}, and {weights}"
        fix = "take both from the same place: the config.json that the weights were saved with"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_config_file(facts))


def _embedding(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    shapes = {shape for name, shape in facts.tensors.items() if EMBEDDING.search(name) and len(shape) == 2}
    if len(shapes) != 1:
        return
    rows, width = shapes.pop()
    if facts.vocab_size and facts.vocab_size != rows:
        yield f"vocab_size is {facts.vocab_size}", f"the embedding has {rows} rows"
    of_its_own = facts.setting("embedding_size", "word_embed_proj_dim", "embedding_dim", "input_embedding_size")
    if facts.hidden_size and width != facts.hidden_size and not of_its_own and not facts.quantization:
        yield f"hidden_size is {facts.hidden_size}", f"the embedding is {width} wide"


def _projections(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """The rows of the first layer's projections, where config.json says how many there are."""
    width = facts.number("head_dim")
    experts = facts.number("num_local_experts", "num_experts", "n_routed_experts")
    wanted = {
        "self_attn.q_proj": ("num_attention_heads", facts.heads, width),
        "self_attn.k_proj": ("num_key_value_heads", facts.number("num_key_value_heads"), width),
        "mlp.gate_proj": ("intermediate_size", None if experts else facts.number("intermediate_size"), 1),
    }
    for module, (key, count, each) in wanted.items():
        shape = facts.tensors.get(f"model.layers.0.{module}.weight")
        if not count or not each or shape is None or len(shape) != 2 or facts.quantization:
            continue
        if shape[0] % (count * each):  # a multiple is one that holds gates as well
            yield f"{key} is {count}" + (f" of head_dim {each}" if each > 1 else ""), f"{module} has {shape[0]} rows"


def _layers(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """Layers that config.json tells of and the weights don't hold; more than it tells of can be heads that look further ahead."""
    found = [match for match in map(LAYER.match, facts.tensors) if match]
    stacks = {match[1] for match in found}
    if len(stacks) != 1 or not facts.layers:
        return
    there = 1 + max(int(match[2]) for match in found)
    if there < facts.layers:
        stack = stacks.pop()
        yield (
            f"num_hidden_layers is {facts.layers}",
            f"they hold {there} ({stack}0 to {stack}{there - 1}): the others would be random",
        )


def _rounded(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """Whole numbers where weights should be."""
    matrices = [
        tensor for name, tensor in facts.weights.tensors.items() if name.endswith(".weight") and len(tensor.shape) == 2
    ]
    kinds = {tensor.dtype for tensor in matrices if tensor.dtype.startswith(("I", "U"))}
    if kinds and not facts.quantization:
        yield "it has no quantization_config", f"they are rounded to whole numbers ({', '.join(sorted(kinds))})"


def missing_head(facts: ModelFacts, trainer: str, *, parameter: str = "model") -> Iterator[Finding]:
    """Weights without the matrix that makes words of hidden states, where the embedding doesn't stand in for it.

    Why: the library fills it with random numbers and says so in a line of its log. Weights saved from the bare model have none.
    Fix: the weights of the language model; or tie_word_embeddings true, where the model shares its embedding.
    """
    if trainer == "reward" or facts.setting("tie_word_embeddings") is not False or not facts.is_causal_lm:
        return
    names, whole = facts.tensors, not facts.weights.missing and not facts.weights.damaged and not facts.custom_code
    if whole and any(EMBEDDING.search(name) for name in names) and not any(HEAD.search(name) for name in names):
        message = (
            f"{flag_of(parameter)} {facts.name}: its weights hold no lm_head, and config.json says that the embedding doesn't stand in "
            "for it (tie_word_embeddings false): the head would be random"
        )
        fix = "take the weights of the language model, or set tie_word_embeddings to true where it shares its embedding"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_config_file(facts))


def adapter_of_another_model(facts: ModelFacts, *, parameter: str = "model") -> Iterator[Finding]:
    """An adapter that can't sit on its base: of another size, on modules that the base hasn't, or no change of weights at all.

    Why: the base that `base_model_name_or_path` names has to be the one it was trained on; and an adapter that puts tokens before the
    text (prompt or prefix tuning) can be neither merged nor trained on here.
    Fix: the right base, or a LoRA adapter.
    """
    if not facts.is_adapter or facts.adapter_config is None:
        return
    kind = facts.adapter_config.get("peft_type")
    where = f"{flag_of(parameter)} {facts.name}"
    file = str(facts.located.folder / "adapter_config.json") if facts.located.folder else None
    if kind in PROMPT_ADAPTERS:
        message = f"{where} is an adapter of the kind {kind}, which puts tokens before a text and changes no weights: only LoRA can be gone on with"
        yield Finding(
            message, fix=f"{flag_of(parameter)} <a LoRA adapter or a model>", parameters=(parameter,), file=file
        )
        return
    for name, tensor in facts.adapter_weights.tensors.items():
        fault = _misfit(name, tensor.shape, facts)
        if fault:
            base = facts.model_located.name
            message = f"{where}: the adapter doesn't fit its base {base} (base_model_name_or_path): {fault}"
            fix = f"write the model that it was trained on into {file}"
            yield Finding(message, fix=fix, parameters=(parameter,), file=file)
            return


def _misfit(name: str, shape: tuple[int, ...], facts: ModelFacts) -> str | None:
    """What is wrong with one matrix of an adapter; None where it fits, or where that can't be told."""
    match = ADAPTED.match(name)
    if match is None or facts.quantization or len(shape) != 2 or facts.located.base is None:
        return None
    module, side = match[1], match[2]
    if facts.located.base.base is not None or not facts.tensors:
        return None
    whole = facts.tensors.get(f"{module}.weight")
    if whole is None or len(whole) != 2 or module.endswith(("c_attn", "c_proj", "c_fc")):
        return None
    outputs, inputs = whole
    wanted, got = (inputs, shape[1]) if side == "A" else (outputs, shape[0])
    return None if wanted == got else f"{module} has a hidden size of {wanted} there and {got} in the adapter"


def _config_file(facts: ModelFacts) -> str | None:
    return str(facts.folder / "config.json") if facts.folder else None
