"""The loss that balances routers: transformers' own, on every architecture that has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from autotrain_llm.run.engine.layouts import Padded
from autotrain_llm.run.engine.router_loss import router_weight
from support.architecture_configs import PADDED, small_config

# DeepSeek's routers have biases in place of a loss.
BALANCED = [kind for kind in PADDED if hasattr(small_config(kind), "output_router_logits") and kind != "deepseek_v3"]


def model_of(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(small_config(kind, **changes)).eval()


@pytest.mark.parametrize("kind", BALANCED)
def test_cross_entropy_and_weighted_router_loss_are_the_loss_of_transformers(kind: str) -> None:
    model = model_of(kind, output_router_logits=True, router_aux_loss_coef=0.7, aux_loss_coef=0.7)
    rows = [(np.arange(3, 3 + length), np.ones(length, dtype=bool)) for length in (5, 9, 7)]
    batch = Padded(0).collate(rows)
    output = Padded(0).forward(model, batch, "loss")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    expected = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert router_weight(model.config) == 0.7
    assert output.router_loss > 0
    torch.testing.assert_close(output.loss / output.logprobs.numel() + 0.7 * output.router_loss, expected)


def test_a_mixture_whose_config_does_not_ask_for_it_has_no_router_loss() -> None:
    assert {"mixtral", "qwen3_moe", "olmoe", "jetmoe"} <= set(BALANCED)
    assert router_weight(small_config("mixtral", output_router_logits=False)) == 0
    assert router_weight(small_config("llama")) == 0
