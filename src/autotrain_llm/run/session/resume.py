"""Resume from a checkpoint of the last step: training is complete, but the final model was not saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import TrainerState

from autotrain_llm.context.output_dir import STATE_FILE
from autotrain_llm.run.engine.loading import Loaded


def state_of(checkpoint: Path) -> TrainerState:
    """The trainer state in a checkpoint."""
    return TrainerState.load_from_json(str(checkpoint / STATE_FILE))


def restore(loaded: Loaded, checkpoint: Path) -> None:
    """Load the weights of a checkpoint into the model; for LoRA, those of the adapter."""
    if isinstance(loaded.model, PeftModel):
        set_peft_model_state_dict(loaded.model, load_file(checkpoint / "adapter_model.safetensors"))
        return
    index = checkpoint / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    weights: dict[str, Any] = {}
    for name in names:
        weights |= load_file(checkpoint / name)
    loaded.model.load_state_dict(weights, strict=False)  # not strict: tied tensors are saved once
    loaded.model.tie_weights()
