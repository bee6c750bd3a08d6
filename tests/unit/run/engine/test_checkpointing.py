"""Gradient checkpointing of each kind: the same losses and gradients, and what is computed again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from autotrain_llm.params.precision import OFFLOAD, SELECTIVE
from autotrain_llm.run.engine import checkpointing
from autotrain_llm.run.engine.checkpointing import checkpoint_layers
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model
from support.architecture_configs import small_config

WORDS, RANK = 61, 3


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted[function._schema.name.partition("::")[2]] += 1
        return function(*args, **(kwargs or {}))


def small(kind: str, *, lora: bool, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(small_config(kind))
    if lora:
        settings = LoraConfig(r=RANK, target_modules="all-linear", init_lora_weights=False, lora_dropout=0.2)
        model = get_peft_model(model, settings)
    return prepare_model(model.to(dtype)).train()


def step(model: Any) -> tuple[torch.Tensor, list[torch.Tensor], Counter[str]]:
    """The loss and the gradients of a batch, and the operations of the backward pass."""
    random = np.random.default_rng(0)
    batch = flatten([(random.integers(0, WORDS, length), np.ones(length, dtype=bool)) for length in (7, 30, 12)])
    torch.manual_seed(1)
    loss = model(**batch, compute="loss").loss
    with Counting() as mode:
        loss.backward()
    return loss.detach(), [one.grad for one in model.parameters() if one.requires_grad], mode.counted


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("how", [None, SELECTIVE, OFFLOAD])
def test_losses_and_gradients_are_those_without_checkpointing(how: str | None, kind: str, lora: bool) -> None:
    expected, gradients, _ = step(small(kind, lora=lora))
    model = small(kind, lora=lora)
    checkpoint_layers(model, how, RANK)
    if lora:
        model.enable_input_require_grads()
    loss, others, _ = step(model)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_selective_checkpointing_computes_no_large_product_and_no_attention_again(lora: bool) -> None:
    counted = {}
    for how in ("none", None, SELECTIVE):
        model = small("llama", lora=lora, dtype=torch.float32)  # in which attention is torch's kernel
        if how != "none":
            checkpoint_layers(model, how, RANK)
            if lora:
                model.enable_input_require_grads()
        counted[how] = step(model)[2]
    attention, layers = "_scaled_dot_product_flash_attention_for_cpu", 2
    plain, full, selective = counted.values()
    assert (plain[attention], full[attention], selective[attention]) == (0, 3 * layers, 0)  # of three segments
    # All seven products of a layer; without an adapter nothing needs the last one's result.
    assert full["mm"] - selective["mm"] == (7 if lora else 6) * layers
    assert lora or selective["mm"] == plain["mm"]
    assert selective["rsqrt"] > plain["rsqrt"]


def test_with_offload_the_inputs_of_layers_and_nothing_else_wait_in_main_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved: list[tuple[int, ...]] = []
    to_main_memory = checkpointing.to_main_memory

    def noted(tensor: torch.Tensor) -> Any:
        moved.append(tuple(tensor.shape))
        return to_main_memory(tensor)

    monkeypatch.setattr(checkpointing, "to_main_memory", noted)
    model = small("llama", lora=False)
    checkpoint_layers(model, OFFLOAD)
    step(model)
    assert [shape for shape in moved if len(shape) == 3] == [(1, 49, 32)] * 2
    assert all(np.prod(shape) == 0 for shape in moved if len(shape) != 3)
