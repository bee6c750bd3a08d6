"""Whether an adapter's files belong together, and to its base model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from autotrain_llm.declare.example import ADAPTER, SFT, WITH_ADAPTER, Example, of_adapter
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of, path_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.checks.target_modules import is_called
from autotrain_llm.models.identity import changed_weights
from autotrain_llm.models.layers import LAYERS
from autotrain_llm.models.metadata import EMBEDDING, WHOLE_TABLE, ModelMetadata

CONFIG = "adapter_config.json"
FURTHER = SFT.replace("MODEL", "./adapter") + "rows.jsonl"
PROMPT_ADAPTERS = frozenset(["PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CARTRIDGE"])
ADAPTED = re.compile(r"^base_model\.model\.(.+)\.lora_(?:embedding_)?([AB])(?:\.\w+){0,2}$")
HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out)$")
# The LoRA matrices by name: the match of ADAPTED, and their shape.
Matrices = Mapping[str, tuple[re.Match[str], tuple[int, ...]]]


@rule("M126", blocks="model", example=of_adapter(ADAPTER))
def an_adapter_has_weights(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """An adapter_config.json without the adapter's weights, or with a pickle of them.

    Why: only safetensors are loaded; reading a pickle can run code.
    Fix: copy the weights too, or save them again as safetensors.
    """
    weights = metadata.adapter_weights
    if not metadata.is_adapter or weights.files or weights.damaged:
        return
    message = (
        f"{flag_of(parameter)} {metadata.name} is an adapter without weights: there is no adapter_model.safetensors"
    )
    fix = "copy or train the adapter's weights too"
    if weights.pickles:
        message += f", only a pickle ({first_of(weights.pickles)})"
        fix = "save it again as safetensors"
    yield Finding(message, fix=fix, parameters=(parameter,))


@rule("M130", blocks="model", example=of_adapter(WITH_ADAPTER.replace("LORA", "PROMPT_TUNING")))
def an_adapter_fits_its_base_model(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """An adapter that does not fit its base model: of another hidden size, for modules that the base does not have, or not a LoRA adapter.

    Why: `base_model_name_or_path` must be the model that the adapter was trained on. Prompt and prefix tuning add virtual tokens before the text and
    change no weights; they can neither be merged nor trained further here.
    Fix: the right base model, or a LoRA adapter.
    """
    if not metadata.is_adapter or metadata.adapter_config is None:
        return
    kind = metadata.adapter_config.get("peft_type")
    where, file = f"{flag_of(parameter)} {metadata.name}", path_of(metadata.located.folder, CONFIG)
    if kind in PROMPT_ADAPTERS:
        message = f"{where} is an adapter of type {kind}, which adds virtual tokens and changes no weights: only LoRA can be trained further"
        fix = f"{flag_of(parameter)} <a LoRA adapter or a model>"
        yield Finding(message, fix=fix, parameters=(parameter,), file=file)
        return
    faults = (_mismatch(name, tensor.shape, metadata) for name, tensor in metadata.adapter_weights.tensors.items())
    fault = next(filter(None, faults), None)
    if fault:
        base = metadata.model_located.name
        message = f"{where}: the adapter does not fit its base model {base} (base_model_name_or_path): {fault}"
        fix = f"write the model that it was trained on into {file}"
        yield Finding(message, fix=fix, parameters=(parameter,), file=file)


def _mismatch(name: str, shape: tuple[int, ...], metadata: ModelMetadata) -> str | None:
    """What is wrong with one matrix of an adapter; None if it fits, or if that is not known."""
    match, located = ADAPTED.match(name), metadata.located
    # An adapter on another adapter, or on a model whose tensors are not known, can't be compared.
    comparable = located.base is not None and located.base.base is None and bool(metadata.tensors)
    if match is None or metadata.quantization or len(shape) != 2 or not comparable:
        return None
    module, side = match[1], match[2]
    weight = metadata.tensors.get(f"{module}.weight")
    # Either name may start further inside the model.
    if (
        weight is None
        and metadata.model_type in LAYERS
        and not any(is_called(module, other) or is_called(other, module) for other in metadata.modules)
        and not (metadata.is_tied and HEAD.search(module))  # which is not stored by itself
    ):
        return f"the adapter has weights for {module}, and the base has no such module"
    if weight is None or len(weight) != 2 or module.endswith(("c_attn", "c_proj", "c_fc")):
        return None
    outputs, inputs = reversed(weight) if "lora_embedding" in name else weight
    expected, actual = (inputs, shape[1]) if side == "A" else (outputs, shape[0])
    if actual in (expected, metadata.added_rows):  # with added tokens the base is resized first
        return None
    return f"{module} has a hidden size of {actual} in the adapter and of {expected} in the base model"


@rule(
    "M134",
    blocks="model",
    example=of_adapter(
        WITH_ADAPTER.replace('"LORA"', '"LORA", "r": 64'), WITH_ADAPTER.replace('"LORA"', '"LORA", "r": 1')
    ),
)
def adapter_weights_match_their_config(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """An adapter whose weights are not those that its adapter_config.json describes: another rank, other modules, or empty ones.

    Why: matrices of another rank can't be loaded; those of modules that the config does not name are left out, and those that it names and the
    weights lack are initialised anew, both without a message. A ZeRO-3 run saves empty weights unless they are gathered.
    Fix: both files from the same place.
    """
    config, tensors = metadata.adapter_config, metadata.adapter_weights.tensors
    matrices = {name: (match, tensor.shape) for name, tensor in tensors.items() if (match := ADAPTED.match(name))}
    if not metadata.is_adapter or config is None or not matrices:
        return
    fault = _empty(matrices) or _other_matrices(config, matrices, metadata.modules) or _not_saved(config, tensors)
    if fault is not None:
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: adapter_config.json and adapter_model.safetensors don't match: {fault}",
            fix="take both from the same place, where the adapter was saved completely",
            parameters=(parameter,),
            file=path_of(metadata.located.folder, CONFIG),
        )


@rule(
    "M193",
    blocks="model",
    roles=(LANGUAGE_MODEL,),
    example=Example(FURTHER + " --peft", FURTHER, on="where ./adapter is on lm_head"),
)
def an_adapter_that_is_trained_further_is_not_on_the_head(
    metadata: ModelMetadata, peft: bool = False, parameter: str = "model"
) -> Iterator[Finding]:
    """`--peft` goes on with an adapter that is on the language model's head.

    Why: the loss is computed from the hidden states and the head's weights together, without calling the module, so that its adapter would not
    be trained.
    Fix: train without `--peft`, which merges the adapter first; or merge it and train a new adapter on the result.
    """
    heads = {match[1] for match in map(ADAPTED.match, metadata.adapter_weights.tensors) if match}
    heads = {name for name in heads if HEAD.search(name)}
    if metadata.is_adapter and peft and heads and parameter == "model":
        yield Finding(
            f"--model {metadata.name} has an adapter on the head ({first_of(sorted(heads))}), which can't be trained further",
            changes={"peft": None},
            otherwise="which merges it into its base and trains all of it",
            parameters=("peft", parameter),
        )


@rule(
    "M194",
    blocks="model",
    example=Example(FURTHER, FURTHER, on="where ./adapter has an embedding of more rows than MODEL, and no head"),
)
def an_adapter_with_added_tokens_has_embedding_and_head(
    metadata: ModelMetadata, parameter: str = "model"
) -> Iterator[Finding]:
    """An adapter that was trained with added tokens has its own embedding and not its own head, or the other way round.

    Why: the base is resized to the adapter's rows, and the rows of the added tokens in the matrix that was not saved would be random.
    Fix: save the resized base model and name it in adapter_config.json; or train with both in modules_to_save.
    """
    rows, base = (
        metadata.added_rows,
        next((shape[0] for name, shape in metadata.tensors.items() if EMBEDDING.search(name)), None),
    )
    if rows is None or base is None or rows == base or metadata.is_tied:
        return
    tables = [name.removesuffix(".weight") for name in metadata.adapter_weights.tensors if WHOLE_TABLE.search(name)]
    heads = [name for name in tables if re.search(r"\.(?:lm_head|embed_out)(?:\.|$)", name)]
    if len(heads) in (0, len(tables)):
        there, absent = ("embedding", "head") if not heads else ("head", "embedding")
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: the adapter has its own {there} of {rows} rows and no {absent}, and its base model has {base} rows "
            "of each: those of the added tokens would be random",
            fix=f"resize the base model to {rows} rows as before its training, save it, and write its folder into base_model_name_or_path of "
            f"{path_of(metadata.located.folder, CONFIG)}",
            parameters=(parameter,),
            file=path_of(metadata.located.folder, CONFIG),
        )


@rule(
    "M198",
    WARNING,
    example=of_adapter(
        WITH_ADAPTER
        + """
echo '{"base_weights": {"model.safetensors": "of other weights"}}' > adapter/run.json"""
    ),
)
def an_adapter_is_used_on_the_weights_it_was_trained_on(
    metadata: ModelMetadata, parameter: str = "model"
) -> Iterator[Finding]:
    """The base model of an adapter has other weight files than when the adapter was trained: the folder was written again, or the model on the Hub was updated.

    Why: an adapter is a change of certain weights. On others of the same shape it can be loaded and merged without an error, and gives answers that
    nothing was trained for. A run records digests of its base's files in `run.json` (of large files of samples), and its adapters are compared with
    them; one that was trained elsewhere has no record. The same weights in other files, as after they were saved again, are reported too.
    Fix: put the files back, or write the folder that has them into `base_model_name_or_path`.
    """
    located = metadata.located
    if not metadata.is_adapter or located.folder is None:
        return
    changed = changed_weights(located.folder, located)
    if changed:
        base = metadata.model_located.name
        yield Finding(
            f"{flag_of(parameter)} {metadata.name}: the adapter was trained on other weights than {base} has now "
            f"({first_of(changed)} changed since)",
            fix=f"restore {base}, or write the folder of the model that it was trained on into {path_of(located.folder, CONFIG)}",
            parameters=(parameter,),
            file=path_of(located.folder, CONFIG),
        )


def _empty(matrices: Matrices) -> str | None:
    empty = [name for name, (_, shape) in matrices.items() if 0 in shape]
    if not empty:
        return None
    return f"{len(empty)} of its matrices are empty ({empty[0]}), as of a run whose weights were not gathered"


def _not_saved(config: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Modules that were trained in full and whose weights are missing. A classifier's are named for several architectures at once."""
    modules = config.get("modules_to_save")
    if not isinstance(modules, list) or config.get("task_type") == "SEQ_CLS":
        return None
    absent = [module for module in modules if not any(f".{module}." in name for name in names)]
    return f"modules_to_save name {', '.join(map(str, absent))}, for which there are no weights" if absent else None


def _other_matrices(config: Mapping[str, Any], matrices: Matrices, base: Sequence[str]) -> str | None:
    """Where rank or modules differ; None if they don't, or if that is not known."""
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
    others = [module for module in modules if not any(is_called(module, target) for target in targets)]
    if others:
        return (
            f"target_modules are {', '.join(targets)}, and there are matrices for {others[0]}, which would be left out"
        )
    in_the_base = [target for target in targets if any(is_called(module, target) for module in base)]
    absent = [target for target in in_the_base if not any(is_called(module, target) for module in modules)]
    return f"target_modules name {', '.join(absent)}, for which there are no matrices" if absent else None
