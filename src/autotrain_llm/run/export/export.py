"""Write a finished model in the form that another program reads: a whole model, an adapter, a GGUF file, or that with a Modelfile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from autotrain_llm.checks.exporting import SPELT, CheckedExport
from autotrain_llm.checks.rules.export import ADAPTER, OLLAMA
from autotrain_llm.data.chat.modelfile import AS_IT_IS, can_be_quoted, modelfile, turn_texts
from autotrain_llm.data.prepared.write import complete_folder
from autotrain_llm.data.tokenize.prompt_format import CHAT, FILE
from autotrain_llm.declare.umask import permitted
from autotrain_llm.models.metadata import DTYPE_NAMES, ModelMetadata
from autotrain_llm.run.artifacts.saving import PART
from autotrain_llm.run.engine.classifiers import load_classifier
from autotrain_llm.run.engine.loading import DTYPES, dtype_of, from_located, keep_config, make_writable
from autotrain_llm.run.engine.loading import merge as merge_adapter
from autotrain_llm.run.generation.answering import loading_options

# What lies beside the weights of a model, and belongs to it.
COMPANIONS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "preprocessor_config.json", FILE,
)  # fmt: skip
SAMPLE = "The sum of 12 and 30 is 42.\nWhat is written here is compared before and after the adapter is merged."
LONGEST_SAMPLE = 64  # tokens


@dataclass(frozen=True)
class Exported:
    """What was written: the files of the folder with their sizes in bytes, the dtype, and the largest difference that merging and rounding made
    to a log-probability of a sample of text; None where nothing was merged."""

    folder: Path
    files: dict[str, int]
    dtype: str
    difference: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "files": self.files,
            "dtype": self.dtype,
            "largest_difference": self.difference,
        }


def export(checked: CheckedExport) -> Exported:
    """Write what was checked. The folder appears when it is complete. Raises OSError if it can't be written."""
    target = Path(str(checked.config.output_dir)).expanduser()
    with complete_folder(target) as folder:
        if checked.command.to == ADAPTER:
            dtype, difference = _write_adapter(checked, folder), None
        else:
            dtype, difference = _write_model(checked, folder)
        for entry in folder.iterdir():
            if entry.is_file():
                entry.chmod(permitted(0o666))
    files = {entry.name: entry.stat().st_size for entry in sorted(target.iterdir())}
    return Exported(target, files, dtype, difference)


def _model_of(checked: CheckedExport) -> ModelMetadata:
    assert checked.context.model is not None  # else there is an error
    return checked.context.model


def _write_adapter(checked: CheckedExport, folder: Path) -> str:
    """Copy an adapter without the states of a checkpoint."""
    metadata, dtype = _model_of(checked), checked.command.dtype
    source = metadata.located.folder
    assert source is not None
    weights = source / "adapter_model.safetensors"
    if dtype is None:
        shutil.copyfile(weights, folder / weights.name)
    else:
        tensors = {name: tensor.to(DTYPES[dtype]) for name, tensor in load_file(weights).items()}
        save_file(tensors, folder / weights.name, metadata={"format": "pt"})
    shutil.copyfile(source / "adapter_config.json", folder / "adapter_config.json")
    _copy_companions(checked, folder)
    stored = next(iter(metadata.adapter_weights.tensors.values())).dtype
    return dtype or SPELT.get(DTYPE_NAMES.get(stored, ""), stored)


def _write_model(checked: CheckedExport, folder: Path) -> tuple[str, float | None]:
    metadata, command = _model_of(checked), checked.command
    stored = dtype_of(metadata.model_located) or torch.float32
    names = {dtype: name for name, dtype in DTYPES.items()}
    dtype = command.dtype or names.get(stored, "fp32")
    model, difference = _whole_model(checked, dtype, is_rounded=DTYPES.get(dtype) != stored)
    _take_generation_config(model, metadata)
    if command.is_gguf:
        _write_gguf(checked, model, folder, dtype)
    else:
        model.to(DTYPES[dtype]).save_pretrained(folder, max_shard_size=PART)
        _copy_companions(checked, folder)
    return dtype, difference


def _whole_model(checked: CheckedExport, dtype: str, is_rounded: bool) -> tuple[Any, float | None]:
    """The model with its weights rounded to a dtype, an adapter merged into it, and how far both moves the log-probabilities of a sample; None if
    nothing is merged or rounded.

    An adapter is merged in float32: in half precision its small changes would be rounded away.
    """
    metadata = _model_of(checked)
    options = loading_options(checked.config, checked.context.token)
    if metadata.is_classifier:
        names = metadata.score_names
        model, _ = load_classifier(metadata.located, torch.float32, options, num_labels=len(names))
        return model.eval(), None
    changes = metadata.is_adapter or is_rounded
    loaded = torch.float32 if changes else dtype_of(metadata.located) or torch.float32
    model = from_located(metadata.located, loaded, options, trainable_adapter=True).eval()
    keep_config(model)
    if not changes:
        return model, None
    before = _log_probabilities(model, checked)
    merged = merge_adapter(model) if isinstance(model, PeftModel) else model
    _round(merged, dtype)
    return merged, float((_log_probabilities(merged, checked) - before).abs().max())


def _round(model: Any, dtype: str) -> None:
    """Round the weights to a dtype, in place; they are float32 before and after."""
    if dtype in DTYPES:
        model.to(DTYPES[dtype]).to(torch.float32)
        return
    from autotrain_llm.run.export.gguf_file import rounded

    for name, parameter in model.named_parameters():
        parameter.data = rounded(name, parameter.data, dtype)


def _log_probabilities(model: Any, checked: CheckedExport) -> torch.Tensor:
    tokenizer = checked.context.tokenizer
    assert tokenizer is not None
    ids = torch.tensor(tokenizer.encode_batch([SAMPLE])[0][:LONGEST_SAMPLE])[None]
    with torch.no_grad():
        return model(input_ids=ids).logits[0].float().log_softmax(-1)


def _take_generation_config(model: Any, metadata: ModelMetadata) -> None:
    """Generation stops where the run's model stops: an adapter has a generation config of its own."""
    folder = metadata.located.folder
    if folder is not None and (folder / "generation_config.json").is_file():
        with suppress(OSError, ValueError):
            model.generation_config = GenerationConfig.from_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        make_writable(model.generation_config)


def _copy_companions(checked: CheckedExport, folder: Path) -> None:
    for path in _companions(_model_of(checked)):
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    if checked.template is not None and checked.config.chat_template is not None:
        (folder / "chat_template.jinja").write_text(checked.template.source, encoding="utf-8")


def _companions(metadata: ModelMetadata) -> Iterator[Path]:
    """The tokenizer's files, and how to ask the model."""
    own, tokenizer = metadata.located.folder, metadata.tokenizer_folder
    for folder in dict.fromkeys(one for one in (tokenizer, own, own.parent.parent if own is not None else None) if one):
        for name in COMPANIONS if folder == tokenizer else (FILE,):
            if (folder / name).is_file():
                yield folder / name


def _write_gguf(checked: CheckedExport, model: Any, folder: Path, dtype: str) -> None:
    from autotrain_llm.models.gguf import GgufTokenizer, tokenizer_for_gguf
    from autotrain_llm.run.export.gguf_file import write_gguf

    metadata = _model_of(checked)
    tokens = metadata.tokenizer_folder
    assert tokens is not None
    kind = tokenizer_for_gguf(json.loads((tokens / "tokenizer.json").read_text(encoding="utf-8")))
    assert isinstance(kind, GgufTokenizer)
    name = Path(str(checked.config.output_dir)).name.removesuffix(f"-{checked.command.to}")
    path = folder / f"{name}-{dtype}.gguf"
    template = checked.template
    source = None if template is None else template.source
    write_gguf(model, tokens, path, dtype, name=name, kind=kind, template=source)
    if checked.command.to == OLLAMA:
        _write_modelfile(checked, model, folder, path.name)


def _write_modelfile(checked: CheckedExport, model: Any, folder: Path, weights: str) -> None:
    template, trained, tokenizer = checked.template, checked.prompt_format, checked.context.tokenizer
    assert tokenizer is not None
    texts = turn_texts(template) if template is not None else None
    system = (trained.system or "") if trained is not None and trained.rows == CHAT else ""
    if not can_be_quoted(texts, system):
        texts, system = None, ""
    written = AS_IT_IS if template is None else texts.as_go() if texts is not None else None
    system = system or (texts.default_system if texts is not None else "")
    ends = model.generation_config.eos_token_id
    ids = [ends] if isinstance(ends, int) else list(ends or ())
    stops = [template.end_of_turn] if template is not None and template.end_of_turn else []
    stops += [tokenizer.decode([number], skip_special_tokens=False) for number in ids]
    text = modelfile(weights, written, [stop.strip() for stop in stops], system, _model_of(checked).context_length)
    (folder / "Modelfile").write_text(text, encoding="utf-8")
