"""Going on from a checkpoint that lies at the run's last step: nothing is left to train, and the model is still to be finished."""

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
    """What transformers' Trainer knew when it wrote the checkpoint."""
    return TrainerState.load_from_json(str(checkpoint / STATE_FILE))


def restore(loaded: Loaded, checkpoint: Path) -> None:
    """Give the model the checkpoint's weights; for an adapter, the adapter's."""
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
    loaded.model.load_state_dict(weights, strict=False)  # tied tensors are saved once
    loaded.model.tie_weights()
