"""The files of a model: config, weights and their index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from autotrain_llm.declare.example import of_config_key, of_copy
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of, label, path_of
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.models.weights import INDEX

# Where a model may be inside the folder that was named; the second in the Hub's cache.
INNER = ("*/config.json", "snapshots/*/config.json")
SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")


@rule("M121", blocks="model", example=of_copy("rm changed/config.json"))
def a_model_has_a_config(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A folder without a readable config.json.

    Why: config.json says which architecture the model has, and of which size.
    Fix: the folder of a saved model, or a Hub id.
    """
    if metadata.is_scratch or metadata.config_fault is None:
        return
    folder = metadata.folder
    assert folder is not None
    if (folder / "model_index.json").exists():
        message = f"{label(metadata, parameter)} is a diffusion pipeline (model_index.json); only language models can be trained"
        yield Finding(message, fix=f"{flag_of(parameter)} <a causal language model>", parameters=(parameter,))
        return
    inner = sorted(path.parent for pattern in INNER for path in folder.glob(pattern))
    fix = f"{flag_of(parameter)} {inner[0]}" if inner else "give the folder of a saved model, or a Hub id"
    message = f"{label(metadata, parameter)}: config.json {metadata.config_fault}, so the model can't be loaded"
    yield Finding(message, fix=fix, parameters=(parameter,), file=str(folder / "config.json"))


@rule("M122", blocks="model", example=of_config_key('"model_type"', '"type"'))
def a_config_names_its_architecture(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A config.json without model_type.

    Why: transformers chooses the model's class by it.
    Fix: add the model_type of the original.
    """
    if metadata.config is not None and metadata.model_type is None:
        message = f"{label(metadata, parameter)}: config.json has no model_type, so transformers can't tell which class to load"
        fix = 'add the model_type of the original to config.json, such as "model_type": "llama"'
        yield Finding(message, fix=fix, parameters=(parameter,), file=path_of(metadata.folder, "config.json"))


@rule("M123", blocks="model", example=of_copy("rm changed/model.safetensors"))
def a_model_has_weights(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A model without weight files, or with pickles only.

    Why: only safetensors are loaded; reading a pickle can run code.
    Fix: download the weights too, or save them again as safetensors.
    """
    weights = metadata.weights
    if metadata.config is None or weights.files or weights.missing:
        return
    if weights.pickles:
        message = f"{label(metadata, parameter)}: its weights are pickles ({first_of(weights.pickles)}), and only safetensors are loaded"
        fix = "save it again as safetensors, or take a revision that has them"
    else:
        message = f"{label(metadata, parameter)} has no weights: there is no weight file such as model.safetensors next to its config.json"
        message += f", only {first_of(weights.others)}" if weights.others else ""
        fix = _how_to_get_weights(weights.others)
    yield Finding(message, fix=fix, parameters=(parameter,))


def _how_to_get_weights(others: Sequence[str]) -> str:
    """What to do where only these files are there."""
    if any(name.endswith((".incomplete", ".part", ".crdownload", ".aria2")) for name in others):
        return "finish the download: those files are incomplete"
    if "zero_to_fp32.py" in others:
        return "gather the weights first: python zero_to_fp32.py . whole --safe_serialization, in that folder"
    if any(name.endswith(".distcp") for name in others):
        return "gather the weights first: accelerate merge-weights <that folder> <another>"
    if any(name.endswith(".safetensors") for name in others):
        return "take the files named model.safetensors or model-00001-of-0000N.safetensors, whose tensors have the names that transformers uses"
    if others:
        return "take a revision of the model that has safetensors, or convert the weights and save them with save_pretrained"
    return "copy or download the weights too, or name another model"


@rule(
    "M124",
    blocks="model",
    example=of_copy(
        "rm changed/model.safetensors\n"
        """echo '{"weight_map": {"lm_head.weight": "model-00001.safetensors"}}' > changed/model.safetensors.index.json"""
    ),
)
def all_shards_are_there(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """Weight files that the index lists are missing.

    Why: the tensors in them could not be loaded.
    Fix: download the model again.
    """
    missing = metadata.weights.missing
    if missing:
        total = len(missing) + len(metadata.weights.files)
        message = (
            f"{label(metadata, parameter)}: {len(missing)} of {total} weight files are missing: {first_of(missing)}"
        )
        file = path_of(metadata.folder, INDEX)
        yield Finding(message, fix="download the model again", parameters=(parameter,), file=file)


@rule("M127", blocks="model", example=of_copy("mv changed/model.safetensors changed/model-00001-of-00002.safetensors"))
def shards_have_an_index(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """Sharded weights without their index, or with one that can't be read.

    Why: the index says in which file each tensor is.
    Fix: download the model's index again.
    """
    weights, folder = metadata.weights, metadata.folder
    if weights.index_fault:
        message = f"{label(metadata, parameter)}: its {INDEX} {weights.index_fault}, so the weights can't be found"
        yield Finding(message, "download the model's index again", (parameter,), file=path_of(folder, INDEX))
    first = next(filter(None, map(SHARD.fullmatch, weights.files)), None)
    if first is None or metadata.is_remote or folder is None or (folder / INDEX).exists():
        return
    message = (
        f"{label(metadata, parameter)}: its weights are sharded into {int(first[1])} files ({first_of(weights.files)}), and "
        f"{INDEX}, which lists the tensors of each, is missing"
    )
    yield Finding(message, fix="download the model again, with its index", parameters=(parameter,))


@rule("M125", blocks="model", example=of_copy("head -c 5000 MODEL/model.safetensors > changed/model.safetensors"))
def weight_files_are_whole(metadata: ModelMetadata, parameter: str = "model") -> Iterator[Finding]:
    """A weight file that is a Git LFS pointer, is truncated, or is not a safetensors file.

    Why: the weights can't be loaded from it.
    Fix: download or save the model again.
    """
    for weights, folder in (
        (metadata.weights, metadata.folder),
        (metadata.adapter_weights, metadata.located.folder),
    ):
        reasons: dict[str, list[str]] = {}
        for name, reason in weights.damaged.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            fix = "run `git lfs pull` in it, or download the model again" if "LFS" in reason else None
            yield Finding(
                f"{label(metadata, parameter)}: {first_of(names)} {reason}",
                fix=fix or "download or save the model again",
                parameters=(parameter,),
                file=path_of(folder, names[0]),
            )
