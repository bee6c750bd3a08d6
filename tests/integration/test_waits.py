"""No number is read back from the device between the first forward pass of a step and its update: on a GPU each would wait for all that was started."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, Trainer

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.models.architectures import ALLOWED
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model
from support.architecture_configs import small_config
from support.short_runs import LORA, short_run

READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
}  # item(), float(), bool(); torch.equal()


class Noting(TorchDispatchMode):
    """Notes which code reads a number: the innermost function of a library, or else of all."""

    def __init__(self, places: list[str], library: str = "autotrain_llm") -> None:
        super().__init__()
        self.places, self.library = places, library

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in READS:
            frames = [frame for frame in traceback.extract_stack() if "test_waits" not in frame.filename]
            own = [frame for frame in frames if self.library in frame.filename] or frames
            self.places.append(f"{Path(own[-1].filename).name} {own[-1].name}")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where numbers are read inside of steps: forward and backward pass of each batch, and clipping."""
    noted: list[str] = []

    def noting(step: Callable[..., Any]) -> Callable[..., Any]:
        def within(*args: Any, **kwargs: Any) -> Any:
            with Noting(noted):
                return step(*args, **kwargs)

        return within

    monkeypatch.setattr(Trainer, "training_step", noting(Trainer.training_step))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noting(torch.nn.utils.clip_grad_norm_))
    return noted


@pytest.mark.parametrize("changes", [{}, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("name", TRAINERS)
def test_no_step_reads_a_number(
    name: str, changes: dict[str, Any], llama: Path, tmp_path: Path, places: list[str]
) -> None:
    short_run(name, llama, tmp_path, gradient_accumulation=1, **changes)
    assert places == []


# transformers looks for padding in a batch without a mask, in its first and last token.
BY_TRANSFORMERS = {"gpt2": ["modeling_utils.py warn_if_padding_and_no_attention_mask"]}


@pytest.mark.parametrize("kind", ALLOWED)
def test_no_architecture_of_the_flat_layout_reads_a_number(kind: str) -> None:
    model = prepare_model(AutoModelForCausalLM.from_config(small_config(kind))).train()
    rows = [(np.arange(1, length), np.ones(length - 1, dtype=bool)) for length in (7, 30, 12)]
    places: list[str] = []
    with Noting(places, library="transformers"):
        model(**flatten(rows), compute="loss").loss.backward()
    assert places == BY_TRANSFORMERS.get(kind, [])


def test_no_step_with_a_teacher_reads_a_number(llama: Path, tmp_path: Path, places: list[str]) -> None:
    short_run("sft", llama, tmp_path, use_distillation=True, teacher_model=str(llama), distill_alpha=0.5)
    assert places == []


def test_a_number_that_is_read_is_noted(
    llama: Path, tmp_path: Path, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotrain_llm.run.engine.loop import Loop

    own = Loop.compute_loss

    def reading(self: Loop, *args: Any, **kwargs: Any) -> Any:
        loss = own(self, *args, **kwargs)
        assert loss.item() > 0
        return loss

    monkeypatch.setattr(Loop, "compute_loss", reading)
    short_run("sft", llama, tmp_path)
    assert len(places) == 2
