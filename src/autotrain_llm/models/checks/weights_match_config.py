"""Whether the parts of a model go together: its config with its weights, an adapter with its base. One function per kind of fault.

All of it would be found by loading the model, minutes later or never: what weights don't hold is filled with random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.layers import LAYERS
from autotrain_llm.models.metadata import EMBEDDING, ModelMetadata

LAYER = re.compile(r"^(.*?\b(?:layers|layer|h|blocks)\.)(\d+)\.")
COUNTS = (
    "hidden_size", "n_embd", "d_model", "num_hidden_layers", "n_layer", "num_layers", "num_attention_heads", "n_head",
    "num_key_value_heads", "vocab_size", "intermediate_size", "max_position_embeddings", "n_positions",
)  # fmt: skip
ROPE_TABLE = re.compile(r"^ROPE_INIT_FUNCTIONS\b.*?^\}", re.MULTILINE | re.DOTALL)
ACTIVATION_TABLE = re.compile(r"^ACT2CLS\b.*?^\}", re.MULTILINE | re.DOTALL)
ACTIVATIONS = ("hidden_act", "activation_function", "hidden_activation", "activation")
# What a config has to say of each kind besides.
ROPE_NEEDS = {
    **dict.fromkeys(("linear", "dynamic", "yarn"), ("factor",)),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}
# Kinds that configs of single architectures turn into one of the table's.
OWN_ROPES = frozenset(["default", "su", "mrope", "axial"])
PROMPT_ADAPTERS = frozenset(["PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CARTRIDGE"])
MOST_NAMED = 3
NORM = "norm"
# Where config.json has no head_dim, these share hidden_size among the heads; others have a width of their own.
SHARED_WIDTH = frozenset(
    ["arcee", "cohere", "cohere2", "granite", "llama", "mistral", "olmo", "olmo2", "qwen2", "smollm3", "stablelm", "starcoder2"]
)  # fmt: skip
POSITIONS = re.compile(r"(?:^|\.)(?:wpe|embed_positions|position_embeddings)\.weight$")
HEAD = re.compile(r"lm_head|embed_out|output_projection|(?:^|\.)output\.")
ADAPTED = re.compile(r"^base_model\.model\.(.+)\.lora_([AB])(?:\.\w+)?\.weight$")


def impossible_config(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """A config.json from which no model can be built: a size that is no number, heads that don't divide, positions of an unknown kind.

    Why: the library refuses it while it builds the model, after everything else was prepared.
    Fix: the config.json of the original.
    """
    if facts.config is None or facts.model_type is None or facts.custom_code:
        return
    for fault in (
        *_no_numbers(facts),
        *_no_division(facts),
        *_no_positions(facts),
        *_no_padding(facts),
        *_no_activation(facts),
    ):
        message = f"{flag_of(parameter)} {facts.name}: its config.json {fault}, and no model can be built from it"
        fix = "take the config.json of the original"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_config_file(facts))


def _no_numbers(facts: ModelMetadata) -> Iterator[str]:
    for key in COUNTS:
        value = facts.setting(key)
        if isinstance(value, str | bool) or (isinstance(value, int | float) and (value <= 0 or value != int(value))):
            yield f"gives {value!r} as {key}"


def _no_division(facts: ModelMetadata) -> Iterator[str]:
    hidden, heads, keys = facts.hidden_size, facts.heads, facts.number("num_key_value_heads")
    if not hidden or not heads or hidden <= 0 or heads <= 0 or facts.setting("head_dim", "d_kv", "kv_channels"):
        return
    if hidden % heads:
        yield f"shares hidden_size {hidden} among num_attention_heads {heads}, which leaves a rest"
    elif keys and keys > 0 and heads % keys:
        yield f"shares num_attention_heads {heads} among num_key_value_heads {keys}, which leaves a rest"


def _no_positions(facts: ModelMetadata) -> Iterator[str]:
    scaling = facts.rope_scaling
    kind = scaling.get("rope_type", scaling.get("type")) if scaling else None
    known = _ropes()
    if isinstance(kind, str) and known and kind not in known | OWN_ROPES:
        yield f"stretches positions (rope_scaling) by {kind!r}, which the installed transformers doesn't know ({', '.join(sorted(known))})"
    elif scaling is not None and isinstance(kind, str):
        wanted = ROPE_NEEDS.get(kind, ())
        missing = [key for key in wanted if scaling.get(key) is None]
        texts = [key for key in wanted if isinstance(scaling.get(key), str | bool)]
        if missing:
            yield f"stretches positions (rope_scaling) by {kind!r} and gives no {' and no '.join(missing)}"
        if texts:
            yield f"stretches positions (rope_scaling) by {kind!r} and gives {scaling[texts[0]]!r} as {texts[0]}, which is a number"


def _no_padding(facts: ModelMetadata) -> Iterator[str]:
    padding, words = facts.number("pad_token_id"), facts.vocab_size
    if padding is not None and words and padding >= words:
        yield f"gives {padding} as pad_token_id, beyond its embedding of vocab_size {words}"


def _no_activation(facts: ModelMetadata) -> Iterator[str]:
    """An activation function that the library hasn't, of the architectures that look theirs up by name."""
    key = next((key for key in ACTIVATIONS if isinstance(facts.setting(key), str)), None)
    known = _table("activations.py", ACTIVATION_TABLE)
    if key is not None and known and facts.model_type in LAYERS and facts.setting(key) not in known:
        yield f"gives {facts.setting(key)!r} as {key}, which the installed transformers doesn't know ({', '.join(sorted(known))})"


def _ropes() -> frozenset[str]:
    """How the installed transformers can stretch positions."""
    return _table("modeling_rope_utils.py", ROPE_TABLE)


@cache
def _table(file: str, pattern: re.Pattern[str]) -> frozenset[str]:
    """The keys of a table of the installed transformers, read as text; empty where there is none to read."""
    from importlib.util import find_spec

    spec = find_spec("transformers")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        found = pattern.search(path.read_text(encoding="utf-8")) if path.exists() else None
        if found:
            return frozenset(re.findall(r'^\s*"(\w+)":', found[0], re.MULTILINE))
    return frozenset()


def weights_of_another_shape(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """Weights and config.json that tell of models of different size: another vocabulary, another width, layers that are not there.

    Why: sizes that differ are refused while the weights load; layers that are not in the files get random numbers, with no more than a
    line in the log.
    Fix: the config.json that the weights were saved with.
    """
    if facts.config is None or not facts.tensors or facts.weights.missing or facts.custom_code:
        return
    for config, weights in (
        *_embedding(facts),
        *_positions(facts),
        *_projections(facts),
        *_layers(facts),
        *_rounded(facts),
    ):
        message = f"{flag_of(parameter)} {facts.name}: config.json and weights don't fit: {config}, and {weights}"
        fix = "take both from the same place: the config.json that the weights were saved with"
        yield Finding(message, fix=fix, parameters=(parameter,), file=_config_file(facts))


def _embedding(facts: ModelMetadata) -> Iterator[tuple[str, str]]:
    shapes = {shape for name, shape in facts.tensors.items() if EMBEDDING.search(name) and len(shape) == 2}
    if len(shapes) != 1:
        return
    rows, width = shapes.pop()
    if facts.vocab_size and facts.vocab_size != rows:
        yield f"vocab_size is {facts.vocab_size}", f"the embedding has {rows} rows"
    head = facts.tensors.get("lm_head.weight", ())
    if facts.model_type in LAYERS and len(head) == 2 and head[0] != rows:
        yield f"vocab_size is {facts.vocab_size}", f"the lm_head has {head[0]} rows beside an embedding of {rows}"
    of_its_own = facts.setting("embedding_size", "word_embed_proj_dim", "embedding_dim", "input_embedding_size")
    if facts.hidden_size and width != facts.hidden_size and not of_its_own and not facts.quantization:
        yield f"hidden_size is {facts.hidden_size}", f"the embedding is {width} wide"


def _positions(facts: ModelMetadata) -> Iterator[tuple[str, str]]:
    """A table of positions that is not as long as config.json says, of architectures that have one."""
    key = next((name for name in ("max_position_embeddings", "n_positions") if facts.number(name)), None)
    found = next((shape for name, shape in facts.tensors.items() if POSITIONS.search(name) and len(shape) == 2), None)
    if key is None or found is None or facts.model_type not in LAYERS:
        return
    spare = 2 if facts.model_type == "opt" else 0
    if found[0] != (facts.number(key) or 0) + spare:
        yield f"{key} is {facts.number(key)}", f"the table of positions has {found[0]} rows"


def _projections(facts: ModelMetadata) -> Iterator[tuple[str, str]]:
    """The rows of the first layer's projections, where config.json says how many there are."""
    width = facts.number("head_dim") or _width_of_a_head(facts)
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
        rows, wanted_rows = shape[0], count * each
        exact = facts.model_type in LAYERS and not module.endswith("q_proj")  # others can hold gates as well
        if rows != wanted_rows if exact else rows % wanted_rows:
            yield f"{key} is {count}" + (f" of head_dim {each}" if each > 1 else ""), f"{module} has {shape[0]} rows"


def _width_of_a_head(facts: ModelMetadata) -> int | None:
    """The width of an attention head where config.json gives none, of architectures that share their width among the heads."""
    if facts.model_type not in SHARED_WIDTH or not facts.hidden_size or not facts.heads:
        return None
    return facts.hidden_size // facts.heads


def _layers(facts: ModelMetadata) -> Iterator[tuple[str, str]]:
    """Layers that config.json tells of and the weights don't hold, or the other way round, unless those can be heads that look further ahead."""
    found = [match for match in map(LAYER.match, facts.tensors) if match]
    stacks = {match[1] for match in found}
    if len(stacks) != 1 or not facts.layers:
        return
    there = 1 + max(int(match[2]) for match in found)
    if there > facts.layers and facts.model_type in LAYERS and not facts.is_encoder:
        yield f"num_hidden_layers is {facts.layers}", f"they hold {there}: those beyond would be left out"
    if there < facts.layers:
        stack = stacks.pop()
        yield (
            f"num_hidden_layers is {facts.layers}",
            f"they hold {there} ({stack}0 to {stack}{there - 1}): the others would be random",
        )


def _rounded(facts: ModelMetadata) -> Iterator[tuple[str, str]]:
    """Whole numbers where weights should be."""
    matrices = [
        tensor for name, tensor in facts.weights.tensors.items() if name.endswith(".weight") and len(tensor.shape) == 2
    ]
    kinds = {tensor.dtype for tensor in matrices if tensor.dtype.startswith(("I", "U"))}
    if kinds and not facts.quantization:
        yield "it has no quantization_config", f"they are rounded to whole numbers ({', '.join(sorted(kinds))})"


def weights_of_another_architecture(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """Weights whose tensors are not those of the architecture that config.json names: of another one, or of a model that was wrapped when it was saved.

    Why: tensors are found by their names. What the architecture has and the files don't is filled with random numbers, what they hold
    besides is left out, and the library says so in a line of its log at most.
    Fix: the config.json that the weights were saved with; or save the model itself, and not what it was wrapped in.
    """
    layers = LAYERS.get(facts.model_type or "")
    if layers is None or not facts.tensors or facts.quantization or facts.custom_code or facts.weights.missing:
        return
    held = _held(facts.tensors, layers.at)
    kind, where = facts.model_type, f"{flag_of(parameter)} {facts.name}"
    weights = f"its weights ({_some(list(facts.weights.files))})"
    fix = "take both from the same place: the config.json that the weights were saved with"
    if not held:
        found = ", ".join(sorted(facts.tensors, key=lambda name: (not LAYER.match(name), NORM in name))[:MOST_NAMED])
        wrapper = _wrapper(facts.tensors, layers.at)
        if wrapper:
            what = f"the tensors of {weights} have names that begin with {wrapper}, as of a model saved inside another ({found}): a {kind} has none of them"
            fix = "save the model that was wrapped: unwrap it (an adapter: merge it) before save_pretrained"
        else:
            telling = [module for module in layers.needed() if NORM not in module and not module.startswith("ln_")]
            wanted = ", ".join(f"{layers.at}0.{module}.weight" for module in telling[:2])
            what = f"config.json says {kind}, and {weights} are of another architecture: a {kind} has {wanted}, …; they hold {found}, …"
            fix += _fitting(facts)
        yield Finding(f"{where}: {what}, and all would be random", fix, (parameter,), file=_config_file(facts))
        return
    lacking = [
        f"{layers.at}{at}.{name}.weight" for at in held for name in layers.needed() if f"{name}.weight" not in held[at]
    ]
    besides = [
        f"{layers.at}{at}.{name}"
        for at, names in held.items()
        for name in sorted(names)
        if not layers.knows(name, facts.config or {}) and _is_read(name, names)
    ]
    if lacking:
        message = f"{where}: config.json says {kind}, and {weights} lack {_some(lacking)}, which would be random"
        message += f"; they hold {_some(besides)} instead" if besides else ""
        yield Finding(message, fix + _fitting(facts), (parameter,), file=_config_file(facts))
    elif besides:
        message = f"{where}: config.json says {kind}, and {weights} hold {_some(besides)}, which a {kind} of this config.json has not: they would be left out"
        yield Finding(message, fix + _fitting(facts), (parameter,), file=_config_file(facts))


def _held(names: Iterable[str], at: str) -> dict[int, set[str]]:
    """The tensors of each layer, named from its number on; the model's own prefix may be left out, as of a model without a head."""
    prefix, _, rest = at.partition(".")
    found: dict[int, set[str]] = {}
    for match in filter(None, map(re.compile(rf"(?:{prefix}\.)?{re.escape(rest)}(\d+)\.(.+)").fullmatch, names)):
        found.setdefault(int(match[1]), set()).add(match[2])
    return dict(sorted(found.items()))


def _wrapper(names: Iterable[str], at: str) -> str | None:
    """What stands before the names that an architecture has; None where they don't end so."""
    found = map(re.compile(rf"(.+\.){re.escape(at)}\d+\.").match, names)
    return next((match[1] for match in found if match), None)


def _is_read(name: str, names: set[str]) -> bool:
    """Whether a tensor that an architecture doesn't know matters: older files hold masks and the like as `bias`."""
    module, _, kind = name.rpartition(".")
    return kind == "weight" or (kind == "bias" and f"{module}.weight" in names)


def _fitting(facts: ModelMetadata) -> str:
    """The well-known architecture that the weights are of, as the end of a fix; nothing where none is."""
    for kind, layers in LAYERS.items():
        held = _held(facts.tensors, layers.at)
        first = held.get(0, set())
        whole = bool(first) and all(f"{name}.weight" in first for name in layers.needed())
        if (
            kind != facts.model_type
            and whole
            and all(layers.knows(name, {}) or not _is_read(name, first) for name in first)
        ):
            return f" (the weights are like those of a {kind})"
    return ""


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def missing_head(facts: ModelMetadata, trainer: str, *, parameter: str = "model") -> Iterator[Finding]:
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


def adapter_of_another_model(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
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


def _misfit(name: str, shape: tuple[int, ...], facts: ModelMetadata) -> str | None:
    """What is wrong with one matrix of an adapter; None where it fits, or where that can't be told."""
    match = ADAPTED.match(name)
    if match is None or facts.quantization or len(shape) != 2 or not _has_known_base(facts):
        return None
    module, side = match[1], match[2]
    whole = facts.tensors.get(f"{module}.weight")
    if whole is None and facts.model_type in LAYERS and not any(_is_same(module, other) for other in facts.modules):
        return f"the adapter has weights for {module}, and the base has no such module"
    if whole is None or len(whole) != 2 or module.endswith(("c_attn", "c_proj", "c_fc")):
        return None
    outputs, inputs = whole
    wanted, got = (inputs, shape[1]) if side == "A" else (outputs, shape[0])
    return None if wanted == got else f"{module} has a hidden size of {wanted} there and {got} in the adapter"


def _has_known_base(facts: ModelMetadata) -> bool:
    """Whether an adapter sits on a model, and not on another adapter, whose tensors are known."""
    return facts.located.base is not None and facts.located.base.base is None and bool(facts.tensors)


def _is_same(module: str, other: str) -> bool:
    """Whether two names mean one module, of which one is named from further in."""
    return is_called(module, other) or is_called(other, module)


def adapter_and_its_config(facts: ModelMetadata, *, parameter: str = "model") -> Iterator[Finding]:
    """An adapter whose weights are not those that its adapter_config.json tells of: another rank, other modules, or nothing in them.

    Why: another rank is refused while the weights load; modules that the config doesn't name are left out, and those that it names and
    the weights lack begin anew, both without a word. A run that was spread by ZeRO-3 saves empty weights unless they are gathered.
    Fix: both files from the same place.
    """
    config, tensors = facts.adapter_config, facts.adapter_weights.tensors
    matrices = {name: (match, tensor.shape) for name, tensor in tensors.items() if (match := ADAPTED.match(name))}
    if not facts.is_adapter or config is None or not matrices:
        return
    fault = _left_empty(matrices) or _unlike(config, matrices, facts.modules) or _not_saved(config, tensors)
    if fault is None:
        return
    file = str(facts.located.folder / "adapter_config.json") if facts.located.folder else None
    message = f"{flag_of(parameter)} {facts.name}: adapter_config.json and adapter_model.safetensors don't fit: {fault}"
    fix = "take both from the same place, where the adapter was saved whole"
    yield Finding(message, fix=fix, parameters=(parameter,), file=file)


Matrices = Mapping[str, tuple[re.Match[str], tuple[int, ...]]]


def _left_empty(matrices: Matrices) -> str | None:
    empty = [name for name, (_, shape) in matrices.items() if 0 in shape]
    return (
        f"{len(empty)} of its matrices are empty ({empty[0]}), as of a run whose weights were not gathered"
        if empty
        else None
    )


def _not_saved(config: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Modules that were trained whole and whose weights are not there. A classifier's are named for several architectures at once."""
    whole = config.get("modules_to_save")
    if not isinstance(whole, list) or config.get("task_type") == "SEQ_CLS":
        return None
    absent = [module for module in whole if not any(f".{module}." in name for name in names)]
    return f"modules_to_save name {', '.join(map(str, absent))}, for which there are no weights" if absent else None


def _unlike(config: Mapping[str, Any], matrices: Matrices, base: Sequence[str]) -> str | None:
    """Where rank or modules differ; None where they don't, or where that can't be told."""
    rank = config.get("r")
    ranks = {shape[0] for match, shape in matrices.values() if match[2] == "A" and len(shape) == 2}
    if isinstance(rank, int) and not config.get("rank_pattern") and ranks and ranks != {rank}:
        return f"r is {rank}, and the matrices have a rank of {', '.join(map(str, sorted(ranks)))}"
    targets = config.get("target_modules")
    if config.get("target_parameters") or not isinstance(targets, list) or not targets:
        return None
    if not all(isinstance(target, str) for target in targets):
        return None
    modules = sorted({match[1] for match, _ in matrices.values()})
    besides = [module for module in modules if not any(is_called(module, target) for target in targets)]
    if besides:
        return (
            f"target_modules are {', '.join(targets)}, and there are matrices for {besides[0]}, which would be left out"
        )
    there = [target for target in targets if any(is_called(module, target) for module in base)]
    absent = [target for target in there if not any(is_called(module, target) for module in modules)]
    return f"target_modules name {', '.join(absent)}, for which there are no matrices" if absent else None


def is_called(module: str, name: str) -> bool:
    """Whether a module has this name, whole or as the last parts of its own."""
    return module == name or module.endswith(f".{name}")


def _config_file(facts: ModelMetadata) -> str | None:
    return str(facts.folder / "config.json") if facts.folder else None
