"""A run trains the weights that its plan says, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autotrain_llm.config.registry import TRAINERS
from support.short_runs import LORA, short_run


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    short_run("sft", llama, folder, **LORA)
    return folder / "run"


@pytest.mark.parametrize("name", TRAINERS)
def test_an_adapter_without_peft_is_merged_and_all_of_it_is_trained(name: str, adapter: Path, tmp_path: Path) -> None:
    report = short_run(name, adapter, tmp_path)
    assert "model.safetensors" in report.files
    after = load_file(tmp_path / "run" / "model.safetensors")
    merged = AutoModelForCausalLM.from_pretrained(adapter).state_dict()
    unchanged = [key for key, tensor in after.items() if key in merged and torch.equal(tensor, merged[key])]
    assert not unchanged
