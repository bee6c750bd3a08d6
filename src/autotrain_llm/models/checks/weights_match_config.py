"""Whether a model's weights are those that its config.json describes.

Loading the model would find all of it, minutes later or never: transformers fills tensors that are missing in the files with random
numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.example import of_config_key, of_copy
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of, path_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.layers import LAYERS
from autotrain_llm.models.metadata import EMBEDDING, ModelMetadata

LAYER = re.compile(r"^(.*?\b(?:layers|layer|h|blocks)\.)(\d+)\.")
MOST_NAMED = 3
NORM = "norm"
# Where config.json has no head_dim, these divide hidden_size by the number of heads; others have a head width of their own.
SHARED_WIDTH = frozenset(
    ["arcee", "cohere", "cohere2", "granite", "llama", "mistral", "olmo", "olmo2", "qwen2", "smollm3", "stablelm", "starcoder2"]
)  # fmt: skip
POSITIONS = re.compile(r"(?:^|\.)(?:wpe|embed_positions|position_embeddings)\.weight$")
OF_FIRST_LAYER = re.compile(r"(?:^|\.)0\.")
HEAD = re.compile(r"lm_head|embed_out|output_projection|(?:^|\.)output\.")
SAME_PLACE = "take both from the same place: the config.json that the weights were saved with"


@rule("M129", blocks="model", example=of_config_key('"vocab_size": ', '"vocab_size": 1'))
def weights_have_the_sizes_of_the_config(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """Weights and config.json are of models of different size: another vocabulary, another hidden size, other layers.

    Why: tensors of another size can't be loaded; layers that are missing in the files get random weights, with no more than a line in the log.
    Fix: the config.json that the weights were saved with.
    """
    if metadata.config is None or not metadata.tensors or metadata.weights.missing or metadata.custom_code:
        return
    for config, weights in (
        *_embedding(metadata),
        *_positions(metadata),
        *_projections(metadata),
        *_layers(metadata),
        *_rounded(metadata),
    ):
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: config.json and weights don't match: {config}, and {weights}",
            fix=SAME_PLACE,
            parameters=(parameter,),
            file=path_of(metadata.folder, "config.json"),
        )


def _embedding(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    shapes = {shape for name, shape in metadata.tensors.items() if EMBEDDING.search(name) and len(shape) == 2}
    if len(shapes) != 1:
        return
    rows, width = shapes.pop()
    if metadata.vocab_size and metadata.vocab_size != rows:
        yield f"vocab_size is {metadata.vocab_size}", f"the embedding has {rows} rows"
    head = metadata.tensors.get("lm_head.weight", ())
    if metadata.model_type in LAYERS and len(head) == 2 and head[0] != rows:
        yield f"vocab_size is {metadata.vocab_size}", f"the lm_head has {head[0]} rows and the embedding {rows}"
    of_its_own = metadata.setting("embedding_size", "word_embed_proj_dim", "embedding_dim", "input_embedding_size")
    if metadata.hidden_size and width != metadata.hidden_size and not of_its_own and not metadata.quantization:
        yield f"hidden_size is {metadata.hidden_size}", f"the embedding is {width} wide"


def _positions(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    """A position embedding that is not as long as config.json says, for architectures that have one."""
    key = next((name for name in ("max_position_embeddings", "n_positions") if metadata.number(name)), None)
    table = next(
        (shape for name, shape in metadata.tensors.items() if POSITIONS.search(name) and len(shape) == 2), None
    )
    if key is None or table is None or metadata.model_type not in LAYERS:
        return
    spare = 2 if metadata.model_type == "opt" else 0
    if table[0] != (metadata.number(key) or 0) + spare:
        yield f"{key} is {metadata.number(key)}", f"the position embedding has {table[0]} rows"


def _projections(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    """The rows of the first layer's projections, where config.json says how many there are."""
    width = metadata.number("head_dim") or _width_of_a_head(metadata)
    experts = metadata.number("num_local_experts", "num_experts", "n_routed_experts")
    expected = {
        "self_attn.q_proj": ("num_attention_heads", metadata.heads, width),
        "self_attn.k_proj": ("num_key_value_heads", metadata.number("num_key_value_heads"), width),
        "mlp.gate_proj": ("intermediate_size", None if experts else metadata.number("intermediate_size"), 1),
    }
    for module, (key, count, each) in expected.items():
        shape = metadata.tensors.get(f"model.layers.0.{module}.weight")
        if not count or not each or shape is None or len(shape) != 2 or metadata.quantization:
            continue
        rows, expected_rows = shape[0], count * each
        exact = metadata.model_type in LAYERS and not module.endswith("q_proj")  # others may have gates in it
        if rows != expected_rows if exact else rows % expected_rows:
            yield f"{key} is {count}" + (f" of head_dim {each}" if each > 1 else ""), f"{module} has {shape[0]} rows"


def _width_of_a_head(metadata: ModelMetadata) -> int | None:
    """The width of an attention head where config.json gives none, for architectures that divide the hidden size by the heads."""
    if metadata.model_type not in SHARED_WIDTH or not metadata.hidden_size or not metadata.heads:
        return None
    return metadata.hidden_size // metadata.heads


def _layers(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    """More or fewer layers than config.json says; additional ones of an unknown architecture may be multi-token prediction heads."""
    matches = [match for match in map(LAYER.match, metadata.tensors) if match]
    stacks = {match[1] for match in matches}
    if len(stacks) != 1 or not metadata.layers:
        return
    layer_count = 1 + max(int(match[2]) for match in matches)
    if layer_count > metadata.layers and metadata.model_type in LAYERS and not metadata.is_encoder:
        yield (
            f"num_hidden_layers is {metadata.layers}",
            f"they have {layer_count}: the additional ones would be left out",
        )
    if layer_count < metadata.layers:
        stack = stacks.pop()
        yield (
            f"num_hidden_layers is {metadata.layers}",
            f"they have {layer_count} ({stack}0 to {stack}{layer_count - 1}): the others would be random",
        )


def _rounded(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    """Integers where weights should be."""
    matrices = [
        tensor
        for name, tensor in metadata.weights.tensors.items()
        if name.endswith(".weight") and len(tensor.shape) == 2
    ]
    kinds = {tensor.dtype for tensor in matrices if tensor.dtype.startswith(("I", "U"))}
    if kinds and not metadata.quantization:
        yield (
            "it has no quantization_config",
            f"they are integers, as of quantised weights ({', '.join(sorted(kinds))})",
        )


@rule("M133", blocks="model", example=of_config_key('"model_type": "llama"', '"model_type": "gpt2"'))
def weights_are_of_the_architecture_of_the_config(
    metadata: ModelMetadata, parameter: str = "model"
) -> Iterator[Finding]:
    """The tensors are not those of the architecture in config.json: they are of another one, or of a model that was saved inside a wrapper.

    Why: tensors are loaded by name. Those of the architecture that are missing in the files get random weights, the other ones are left out, and
    transformers writes no more than a line in its log.
    Fix: the config.json that the weights were saved with; or save the model itself, not its wrapper.
    """
    layers = LAYERS.get(metadata.model_type or "")
    if (
        layers is None
        or not metadata.tensors
        or metadata.quantization
        or metadata.custom_code
        or metadata.weights.missing
    ):
        return
    kind, tensors = metadata.model_type, _by_layer(metadata.tensors, layers.at)
    where, fix = f"{flag_of(parameter)} {metadata.name}", SAME_PLACE + _fitting_architecture(metadata)
    weights = f"its weights ({first_of(list(metadata.weights.files), MOST_NAMED)})"
    missing = [
        f"{layers.at}{index}.{name}.weight"
        for index in tensors
        for name in layers.needed()
        if f"{name}.weight" not in tensors[index]
    ]
    additional = [
        f"{layers.at}{index}.{name}"
        for index, names in tensors.items()
        for name in sorted(names)
        if not layers.knows(name, metadata.config or {}) and _is_a_weight(name, names)
    ]
    if not tensors:
        message, fix = _other_tensors(metadata, weights, fix)
    elif missing:
        message = f"config.json says {kind}, and {weights} lack {first_of(missing, MOST_NAMED)}, which would be random"
        message += f"; they have {first_of(additional, MOST_NAMED)} instead" if additional else ""
    elif additional:
        message = (
            f"config.json says {kind}, and {weights} have {first_of(additional, MOST_NAMED)}, which a {kind} with this config.json does not "
            "have: they would be left out"
        )
    else:
        return
    yield Finding(f"{where}: {message}", fix, (parameter,), file=path_of(metadata.folder, "config.json"))


def _other_tensors(metadata: ModelMetadata, weights: str, fix: str) -> tuple[str, str]:
    """The message and the fix where no tensor has a name of the architecture."""
    layers, kind = LAYERS[metadata.model_type or ""], metadata.model_type
    names = ", ".join(sorted(metadata.tensors, key=lambda name: (not LAYER.match(name), NORM in name))[:MOST_NAMED])
    wrapper = _wrapper(metadata.tensors, layers.at)
    if wrapper:
        return (
            f"the tensor names in {weights} start with {wrapper}, as of a model that was saved inside a wrapper ({names}): a {kind} has none "
            "of them, and all weights would be random",
            "save the model itself: unwrap it (an adapter: merge it) before save_pretrained",
        )
    telling = [module for module in layers.needed() if NORM not in module and not module.startswith("ln_")]
    expected = ", ".join(f"{layers.at}0.{module}.weight" for module in telling[:2])
    return (
        f"config.json says {kind}, and {weights} are of another architecture: a {kind} has {expected}, …; they have {names}, …, and all "
        "weights would be random",
        fix,
    )


def _by_layer(names: Iterable[str], at: str) -> dict[int, set[str]]:
    """The tensors of each layer, named from its index on; the model's own prefix may be missing, as in a model without a head."""
    prefix, _, rest = at.partition(".")
    tensors: dict[int, set[str]] = {}
    for match in filter(None, map(re.compile(rf"(?:{prefix}\.)?{re.escape(rest)}(\d+)\.(.+)").fullmatch, names)):
        tensors.setdefault(int(match[1]), set()).add(match[2])
    return dict(sorted(tensors.items()))


def _wrapper(names: Iterable[str], at: str) -> str | None:
    """What comes before the names of an architecture's tensors; None if they don't end in those."""
    matches = map(re.compile(rf"(.+\.){re.escape(at)}\d+\.").match, names)
    return next((match[1] for match in matches if match), None)


def _is_a_weight(name: str, names: set[str]) -> bool:
    """Whether a tensor that an architecture does not have is a weight: older files have masks and the like as `bias`."""
    module, _, kind = name.rpartition(".")
    return kind == "weight" or (kind == "bias" and f"{module}.weight" in names)


def _fitting_architecture(metadata: ModelMetadata) -> str:
    """The well-known architecture whose tensors these are, as the end of a fix; empty if there is none."""
    first = [name for name in metadata.tensors if OF_FIRST_LAYER.search(name)]
    for kind, layers in LAYERS.items():
        first_layer = _by_layer(first, layers.at).get(0, set())
        complete = bool(first_layer) and all(f"{name}.weight" in first_layer for name in layers.needed())
        no_others = all(layers.knows(name, {}) or not _is_a_weight(name, first_layer) for name in first_layer)
        if kind != metadata.model_type and complete and no_others:
            return f" (the weights look like those of a {kind})"
    return ""


@rule(
    "M145",
    blocks="model",
    roles=(LANGUAGE_MODEL,),
    example=of_copy(
        "sed -i.old 's/lm_head/lm_hand/' changed/model.safetensors\n"
        """sed -i.old 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' changed/config.json"""
    ),
)
def weights_have_a_head(metadata: ModelMetadata, trainer: str, parameter: str = "model") -> Iterator[Finding]:
    """Weights without lm_head, of a model whose embedding is not tied to it.

    Why: transformers fills it with random numbers and writes no more than a line in its log. Weights saved from the base model have none.
    Fix: the weights of the language model; or tie_word_embeddings true, if the model shares its embedding.
    """
    if (
        TRAINERS[trainer].trains_a_scorer
        or metadata.setting("tie_word_embeddings") is not False
        or not metadata.is_causal_lm
    ):
        return
    if metadata.weights.missing or metadata.weights.damaged or metadata.custom_code:
        return
    names = metadata.tensors
    if any(EMBEDDING.search(name) for name in names) and not any(HEAD.search(name) for name in names):
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: its weights have no lm_head, and config.json says that the embedding is not tied to it "
            "(tie_word_embeddings false): the head would be random",
            fix="take the weights of the language model, or set tie_word_embeddings to true if it shares its embedding",
            parameters=(parameter,),
            file=path_of(metadata.folder, "config.json"),
        )
