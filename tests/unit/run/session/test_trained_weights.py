"""A run is ended if it does not train what its plan says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.session.trained_weights import TrainedWeights

SHAPE = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
IDS = torch.arange(1, 9)[None]


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def with_lora() -> Any:
    return get_peft_model(llama(), LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"]))


def steps(model: Any, *, lr: float = 1e-3, count: int = 3, optimized: Any = None, frozen: bool = False) -> None:
    """The callbacks of a training of this many steps."""
    guard, unused = TrainedWeights(), (Any, Any, Any)
    guard.on_train_begin(*unused, model=model)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in optimized or model.parameters() if parameter.requires_grad], lr=lr
    )
    for _ in range(count):
        model(input_ids=IDS, labels=IDS).loss.backward()
        guard.on_pre_optimizer_step(*unused, optimizer=optimizer)
        if not frozen:
            optimizer.step()
        guard.on_optimizer_step(*unused)
        optimizer.zero_grad()
    guard.on_train_end(*unused)


@pytest.mark.parametrize("make", [llama, with_lora])
def test_a_model_or_an_adapter_of_which_all_is_trained_passes(make: Callable[[], Any]) -> None:
    steps(make())


def test_a_frozen_weight_ends_the_run_before_its_first_step() -> None:
    model = llama()
    model.model.embed_tokens.requires_grad_(False)
    with pytest.raises(RunFailed, match=r"1 of 12 weight tensors are frozen.*model\.embed_tokens\.weight"):
        steps(model, count=0)


def test_a_weight_of_the_base_that_is_trained_beside_an_adapter_ends_the_run() -> None:
    model = with_lora()
    model.get_base_model().model.norm.requires_grad_(True)
    with pytest.raises(RunFailed, match=r"would be trained.*norm\.weight"):
        steps(model, count=0)


def test_a_weight_that_the_optimizer_does_not_have_ends_the_run() -> None:
    model = llama()
    with pytest.raises(RunFailed, match="1 of 12 weight tensors are not given to the optimizer"):
        steps(model, optimized=list(model.parameters())[1:])


@pytest.mark.parametrize("count", [1, 3])
def test_weights_that_do_not_change_end_the_run(count: int) -> None:
    with pytest.raises(RunFailed, match="weight tensors have a gradient and did not change"):
        steps(llama(), count=count, frozen=True)


def test_a_learning_rate_of_zero_and_one_below_the_rounding_of_the_weights_are_allowed() -> None:
    steps(llama(), lr=0.0)
    steps(llama(), lr=1e-12)
