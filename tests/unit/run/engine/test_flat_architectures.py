"""Each allowed architecture, packed and row by row through its own forward: the same logits, loss and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autotrain_llm.models.architectures import ALLOWED
from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import prepare_model, supported
from support.architecture_configs import NORMS_IN_FLOAT32, OWN, SPECIAL, USUAL, VOCABULARY

LENGTHS = (5, 23, 1, 12, 12)


def tiny(kind: str) -> torch.nn.Module:
    config = AutoConfig.for_model(kind, **(USUAL | SPECIAL.get(kind, {})))
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=OWN[kind]).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def rows() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(3)
    return [
        (random.integers(3, VOCABULARY, length).astype(np.int32), random.random(length) < 0.6) for length in LENGTHS
    ]


def separately(model: torch.nn.Module) -> torch.Tensor:
    """The log-probabilities of all targets, each row alone, as the formula is written."""
    chosen = []
    for ids, trained in rows():
        tokens = torch.from_numpy(ids).long()
        log_softmax = model(input_ids=tokens[None]).logits[0].log_softmax(-1)
        chosen += [log_softmax[place - 1, tokens[place]] for place in np.flatnonzero(trained) if place > 0]
    return torch.stack(chosen)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("kind", sorted(ALLOWED))
def test_packed_equals_separate(kind):
    model = tiny(kind)
    expected = separately(model)
    (-expected.sum()).backward()
    expected_gradients = gradients(model)

    prepare_model(model, own_attention=OWN[kind])
    batch = flatten(rows())
    summed = model(**batch, compute="loss")
    summed.loss.backward()
    of_loss = gradients(model)
    each = model(**batch, compute="logprobs")
    (-each.logprobs.sum()).backward()
    of_logprobs = gradients(model)

    assert torch.allclose(summed.loss, -expected.sum(), rtol=0, atol=1e-10)
    assert torch.allclose(each.logprobs, expected, rtol=0, atol=1e-10)
    assert of_loss.keys() == of_logprobs.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        within = 1e-6 if kind in NORMS_IN_FLOAT32 and "norm" in name else 1e-10
        assert torch.allclose(of_loss[name], gradient, rtol=0, atol=within), name
        assert torch.allclose(of_logprobs[name], gradient, rtol=0, atol=within), name


@pytest.mark.parametrize("kind", sorted(kind for kind, special in SPECIAL.items() if "sliding_window" in special))
def test_the_window_of_a_test_model_is_really_in_use(kind):
    config = tiny(kind).config
    alone = flatten(rows())
    model = prepare_model(tiny(kind), own_attention=OWN[kind])
    narrow = model(**alone).loss
    config.sliding_window = 1000
    for module in model.modules():
        if getattr(module, "sliding_window", None) is not None:
            module.sliding_window = 1000
    model.config.sliding_window = 1000
    assert abs(float(model(**flatten(rows())).loss.detach()) - float(narrow.detach())) > 1e-6


@pytest.mark.parametrize("kind", ["mamba", "bloom", "bert", "qwen3_next", "gpt_oss", "gemma3", "stablelm", "nemotron"])
def test_an_architecture_that_is_not_known_to_keep_rows_apart_is_refused(kind):
    fits, reason = supported(AutoConfig.for_model(kind))
    assert not fits
    assert kind in reason


@pytest.mark.parametrize(
    ("kind", "setting"), [("gemma3_text", "use_bidirectional_attention"), ("gpt2", "reorder_and_upcast_attn")]
)
def test_a_setting_that_goes_past_the_registered_attention_is_refused(kind, setting):
    assert supported(AutoConfig.for_model(kind)) == (True, "")
    fits, reason = supported(AutoConfig.for_model(kind, **{setting: True}))
    assert not fits
    assert setting in reason
