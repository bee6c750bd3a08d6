"""On a GPU: every way of computing attention over segments equals the one that needs no kernel, and so does a whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat.batch import Segments, flatten
from autotrain_llm.run.engine.flat.model import prepare_model
from autotrain_llm.run.engine.flat.tiled_head import linear_cross_entropy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

COMPUTE = {
    attention.FLASH: attention._flash,
    attention.VARLEN: attention._varlen,
    attention.FLEX: attention._flex,
}
ALONE = Segments((1, 300, 77, 5, 128))
CHAINED = Segments((200, 9, 30, 40, 3), (-1, 0, 0, -1, 1))


def available(name: str) -> bool:
    functions = {attention.FLASH: attention._flash_function, attention.VARLEN: lambda: attention.VARLEN_FUNCTION}
    return name not in functions or functions[name]() is not None


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("layout", [ALONE, CHAINED], ids=["alone", "chained"])
@pytest.mark.parametrize("name", COMPUTE)
def test_every_kernel_equals_attention_segment_by_segment(name, layout, window, softcap):
    if not available(name):
        pytest.skip(f"{name} is not installed")
    if name != attention.FLASH and softcap is not None:
        pytest.skip("this one knows no softcap, and is not chosen for it")
    torch.manual_seed(0)
    tokens = sum(layout.lengths)
    inputs = [torch.randn(1, heads, tokens, 64, device="cuda", dtype=torch.bfloat16) for heads in (8, 2, 2)]
    weight = torch.randn(1, tokens, 8, 64, device="cuda")
    results = []
    for compute, kind in ((COMPUTE[name], torch.bfloat16), (attention._sdpa_per_segment, torch.float32)):
        tensors = [one.to(kind).requires_grad_() for one in inputs]
        segments = Segments(layout.lengths, layout.continues)
        output = compute(*tensors, attention.AttentionArgs(segments, 0.2, window=window, softcap=softcap))
        gradients = torch.autograd.grad((output.float() * weight).sum(), tensors)
        results.append([output, *gradients])
    for mine, exact in zip(*results, strict=True):
        assert float((mine.float() - exact).norm() / exact.norm()) < 0.02


def test_the_chosen_way_is_one_that_is_there():
    chosen = attention.backend("cuda", torch.bfloat16)
    assert available(chosen)
    assert attention.backend("cuda", torch.float32) == attention.FLEX
    assert attention.backend("cuda", torch.float32, dropout=True) == attention.SDPA
    assert attention.backend("cuda", torch.float32, softcap=True) == attention.SDPA


def test_the_tiled_head_equals_the_formula_and_sums_its_gradient_in_float32():
    torch.manual_seed(0)
    hidden = torch.randn(3000, 64, device="cuda", requires_grad=True)
    weight = torch.randn(1000, 64, device="cuda", requires_grad=True)
    labels = torch.randint(1000, (3000,), device="cuda")
    expected = torch.nn.functional.cross_entropy((hidden.double() @ weight.double().T), labels, reduction="sum")
    of_formula = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cuda", torch.bfloat16):
        loss, _ = linear_cross_entropy(hidden, weight, labels, tile=128)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
    for mine, formula in zip(torch.autograd.grad(loss, (hidden, weight)), of_formula, strict=True):
        assert float((mine - formula).norm() / formula.norm()) < 0.01


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_model_packed_under_autocast_equals_rows_alone(checkpointing):
    torch.manual_seed(0)
    shape = {"vocab_size": 500, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=4, num_key_value_heads=2)).cuda().train()
    random = np.random.default_rng(0)
    rows = [(random.integers(0, 500, one).astype(np.int32), np.ones(one, bool)) for one in (300, 7, 90, 33)]

    expected = torch.zeros((), device="cuda")
    for ids, _ in rows:
        tokens = torch.from_numpy(ids).long().cuda()[None]
        logits = model(input_ids=tokens).logits[0, :-1]
        expected = expected + torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
    expected.backward()
    exact = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()

    prepare_model(model)
    if checkpointing:
        model.gradient_checkpointing_enable()
    batch = {name: one.cuda() if torch.is_tensor(one) else one for name, one in flatten(rows).items()}
    with torch.autocast("cuda", torch.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
    for name, parameter in model.named_parameters():
        assert float((parameter.grad - exact[name]).norm() / exact[name].norm()) < 0.05, name
