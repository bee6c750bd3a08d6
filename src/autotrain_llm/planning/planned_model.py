"""What a run will write, from its plan and the files that it starts from: a model that later stages are checked with before it exists.

Only metadata: a folder with config.json, the tokenizer with its chat template and the settings of an adapter, and the names and shapes of the
tensors. It is read like a model on the Hub, whose weights are not on this disk either.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.models.checks.target_modules import for_peft
from autotrain_llm.models.locate import ADAPTER, ADAPTER_CONFIG, FOLDER, Located
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.models.planned import PlannedModel
from autotrain_llm.models.scratch import tensor_shapes
from autotrain_llm.planning.kinds import NEW_HEAD

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.planning.plan import AdapterPlan, Plan

OF_A_TOKENIZER = ("*token*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "*chat_template*", "*_map.json")
WEIGHTS, ADAPTER_WEIGHTS = "model.safetensors", "adapter_model.safetensors"
HEAD_OF_A_GENERATOR = ("lm_head.", "embed_out.")


def plan_model(plan: Plan, context: RunContext, home: Path) -> PlannedModel:
    """The model that a run will write to its output folder. `home` is a folder for its metadata files; the rows must be prepared."""
    target = Path(plan.output.dir).expanduser()
    merged = _whole_model(plan, context, home / "whole", target)
    if plan.adapter is None or plan.model.shape is not None:
        return PlannedModel(merged, merged)
    adapter = _adapter(plan, plan.adapter, context, home / "adapter", target)
    return PlannedModel(merged if plan.adapter.merge else adapter, adapter)


def _whole_model(plan: Plan, context: RunContext, folder: Path, target: Path) -> Located:
    _write_what_every_model_has(plan, context, folder)
    _write_json(folder / "config.json", _config(plan, context))
    tensors = tensor_shapes(plan.model.shape) if plan.model.shape else context.model.tensors if context.model else {}
    return Located(
        plan.output.dir,
        FOLDER,
        folder,
        remote_files=(*(path.name for path in folder.iterdir()), WEIGHTS),
        remote_tensors=_with_head(tensors, plan, context.model),
        planned=target,
    )


def _config(plan: Plan, context: RunContext) -> dict[str, Any]:
    """config.json as the run will write it: that of the model it starts from, or of the new one."""
    metadata, tokenizer = context.model, context.tokenizer
    if plan.model.shape is not None:
        ids = _special_ids(tokenizer) if tokenizer else {}
        config = {
            "model_type": plan.model.model_type,
            "hidden_act": "silu",
            **plan.model.shape,
            **ids,
            "dtype": "float32",
        }
    else:
        assert metadata is not None
        config = {**(metadata.config or {}), **({"dtype": metadata.dtype} if metadata.dtype else {})}
    if plan.model.architecture is not None:
        config["architectures"] = [plan.model.architecture]
    if plan.model.head == NEW_HEAD and plan.model.scores:
        config["id2label"] = {str(label): f"LABEL_{label}" for label in range(plan.model.scores)}
    return config


def _special_ids(tokenizer: Tokenizer) -> dict[str, int | None]:
    return {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}


def _with_head(
    tensors: Mapping[str, tuple[int, ...]], plan: Plan, metadata: ModelMetadata | None
) -> Mapping[str, tuple[int, ...]]:
    """The tensors with the score head that a reward model gets in place of the language model's."""
    if plan.model.head != NEW_HEAD or not tensors:
        return tensors
    hidden = plan.model.shape["hidden_size"] if plan.model.shape else (metadata and metadata.hidden_size) or 0
    name = "classifier.weight" if metadata is not None and metadata.is_encoder else "score.weight"
    body = {name: shape for name, shape in tensors.items() if not name.startswith(HEAD_OF_A_GENERATOR)}
    return {**body, name: (plan.model.scores or 1, hidden)}


def _adapter(plan: Plan, adapter: AdapterPlan, context: RunContext, folder: Path, target: Path) -> Located:
    metadata = context.model
    assert metadata is not None  # an adapter is on a model that has files
    base = metadata.located.base or metadata.located
    _write_what_every_model_has(plan, context, folder)
    all_linear = adapter.target_modules == ("all-linear",)
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if plan.model.head is None else "SEQ_CLS",
        "base_model_name_or_path": str(base.path or base.name),
        "r": adapter.saved_rank,
        "lora_alpha": adapter.saved_alpha,
        "lora_dropout": adapter.dropout,
        "use_dora": adapter.dora,
        "use_rslora": adapter.rslora,
        "target_modules": list(metadata.linear_names) if all_linear else for_peft(adapter.target_modules),
    }
    if adapter.tokens:
        settings["trainable_token_indices"] = list(adapter.tokens)
    _write_json(folder / ADAPTER_CONFIG, settings)
    files = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
    return Located(plan.output.dir, ADAPTER, folder, base, remote_files=files, planned=target)


def _write_what_every_model_has(plan: Plan, context: RunContext, folder: Path) -> None:
    """The tokenizer with the template of the rows, and the record of the run, which says how the rows are written."""
    folder.mkdir(parents=True)
    if context.tokenizer_folder is not None:
        _copy_tokenizer(context.tokenizer_folder, folder)
    template = context.prepared.template if context.prepared else None
    if template is not None:
        (folder / "chat_template.jinja").write_text(template.source, encoding="utf-8")
    if context.tokenizer is not None:
        _name_a_padding_token(context.tokenizer, folder / "tokenizer_config.json")
    _write_json(folder / "run.json", {"plan": plan.as_json()})


def _copy_tokenizer(source: Path, folder: Path) -> None:
    for path in {path for pattern in OF_A_TOKENIZER for path in source.glob(pattern)}:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)


def _name_a_padding_token(tokenizer: Tokenizer, settings_file: Path) -> None:
    """A run names one if there is none, as `load_tokenizer` in run/engine/loading.py does."""
    if tokenizer.pad is not None or not settings_file.exists():
        return
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    _write_json(settings_file, {**settings, "pad_token": tokenizer.unk or tokenizer.eos})


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, default=list), encoding="utf-8")
