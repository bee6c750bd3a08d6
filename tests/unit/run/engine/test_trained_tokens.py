"""Rows of embedding and head that are trained with an adapter: the flat layout computes what PEFT computes."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.planning.plan import AdapterPlan
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model
from autotrain_llm.run.engine.loading import cast_linear_weights, lora_config

TOKENS = (4, 5, 60)
PLAN = AdapterPlan(2, 4.0, 0.0, False, False, ("q_proj",), False, tokens=TOKENS)
SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def llama(*, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**SIZES, **heads, tie_word_embeddings=tied))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_loss_and_gradients_of_the_flat_layout_are_those_of_plain_peft(tied: bool) -> None:
    base = llama(tied=tied).double()
    rows = {"embed_tokens": [*TOKENS]} | ({} if tied else {"lm_head": [*TOKENS]})
    settings = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "trainable_token_indices": rows}
    torch.manual_seed(1)
    plain = get_peft_model(copy.deepcopy(base), LoraConfig(**settings))
    torch.manual_seed(1)
    ours = get_peft_model(base, lora_config(PLAN, base))
    trained = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert sum("trainable_tokens" in name for name in trained) == (1 if tied else 2)
    ids = torch.tensor([7, 4, 9, 5, 11, 60, 12, 4])
    expected = torch.nn.functional.cross_entropy(plain(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="sum")
    expected.backward()
    loss = prepare_model(ours)(**flatten([(ids.int().numpy(), torch.ones(len(ids), dtype=torch.bool).numpy())])).loss
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    of_plain = dict(plain.named_parameters())
    for name in trained:
        torch.testing.assert_close(ours.get_parameter(name).grad, of_plain[name].grad, rtol=0, atol=1e-10)
        if "trainable_tokens" in name:
            assert ours.get_parameter(name).grad.abs().sum() > 0.1


def test_trained_rows_are_float32_where_the_model_is_not() -> None:
    model = get_peft_model(llama(tied=False).bfloat16(), lora_config(PLAN, llama(tied=False)))
    rows = [
        parameter
        for name, parameter in cast_linear_weights(model, "bf16").named_parameters()
        if "trainable_tokens" in name
    ]
    assert [row.dtype for row in rows] == [torch.float32, torch.float32]
