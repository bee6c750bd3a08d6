"""The tiled head against the formula written out over all logits."""

from __future__ import annotations

import pytest
import torch

from autotrain_llm.run.engine.flat import tiled_head as head
from autotrain_llm.run.engine.flat.tiled_head import (
    LogitTransform,
    _adds_in_place,
    linear_cross_entropy,
    linear_logprobs,
)

TARGETS, SIZE, WORDS, TILE = 23, 12, 37, 5
VARIANTS = {
    "plain": (False, LogitTransform()),
    "bias": (True, LogitTransform()),
    "scaled": (False, LogitTransform(scale=0.3)),
    "softcapped": (False, LogitTransform(softcap=0.8)),
    "everything": (True, LogitTransform(scale=0.4, softcap=1.1)),
}


def inputs(with_bias: bool, kind: torch.dtype = torch.float64) -> tuple[list[torch.Tensor | None], torch.Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(TARGETS, SIZE, dtype=kind, requires_grad=True)
    weight = torch.randn(WORDS, SIZE, dtype=kind, requires_grad=True)
    bias = torch.randn(WORDS, dtype=kind, requires_grad=True) if with_bias else None
    return [hidden, weight, bias], torch.randint(WORDS, (TARGETS,))


def written_out(tensors, labels, logits: LogitTransform) -> torch.Tensor:
    hidden, weight, bias = tensors
    raw = hidden @ weight.T + (0 if bias is None else bias)
    raw = raw * logits.scale
    if logits.softcap is not None:
        raw = logits.softcap * torch.tanh(raw / logits.softcap)
    return raw.log_softmax(-1)


def gradients_of(value: torch.Tensor, tensors) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, [one for one in tensors if one is not None]))


def equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return torch.allclose(left, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_gradients_and_statistics_equal_the_formula(variant):
    with_bias, logits = VARIANTS[variant]
    tensors, labels = inputs(with_bias)
    log_softmax = written_out(tensors, labels, logits)
    expected = -log_softmax.gather(1, labels[:, None]).sum()
    loss, statistics = linear_cross_entropy(
        tensors[0], tensors[1], labels, tensors[2], transform=logits, with_entropy=True, tile=TILE
    )
    assert equal(loss, expected)
    assert equal(statistics.logprobs, log_softmax.gather(1, labels[:, None])[:, 0])
    assert equal(statistics.entropy, -(log_softmax.exp() * log_softmax).sum(-1))
    assert statistics.correct.equal(log_softmax.argmax(-1) == labels)
    for mine, formula in zip(gradients_of(3 * loss, tensors), gradients_of(3 * expected, tensors), strict=True):
        assert equal(mine, formula)


@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_with_weights_are_torchs_weighted_cross_entropy(variant):
    with_bias, logits = VARIANTS[variant]
    tensors, labels = inputs(with_bias)
    of_class = torch.rand(WORDS, dtype=torch.float64) * 10
    expected = torch.nn.functional.nll_loss(
        written_out(tensors, labels, logits), labels, weight=of_class, reduction="sum"
    )
    weighted = {"label_weights": of_class[labels], "transform": logits, "tile": TILE}
    loss, statistics = linear_cross_entropy(tensors[0], tensors[1], labels, tensors[2], **weighted)
    assert equal(loss, expected) and not equal(loss, -statistics.logprobs.sum())
    for mine, formula in zip(gradients_of(3 * loss, tensors), gradients_of(3 * expected, tensors), strict=True):
        assert equal(mine, formula)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_log_probabilities_take_any_gradient_per_token(variant, kept, monkeypatch):
    monkeypatch.setattr(head, "KEPT_BYTES", 1 << 28 if kept else 0)
    with_bias, logits = VARIANTS[variant]
    tensors, labels = inputs(with_bias)
    factors = torch.randn(TARGETS, dtype=torch.float64)
    expected = written_out(tensors, labels, logits).gather(1, labels[:, None])[:, 0]
    mine, _ = linear_logprobs(tensors[0], tensors[1], labels, tensors[2], transform=logits, tile=TILE)
    assert equal(mine, expected)
    of_mine = gradients_of((mine.exp() * factors).sum(), tensors)
    of_formula = gradients_of((expected.exp() * factors).sum(), tensors)
    for one, other in zip(of_mine, of_formula, strict=True):
        assert equal(one, other)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_what_is_kept_for_backward_gives_the_gradients_that_are_made_anew(kind, monkeypatch):
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 32, requires_grad=True), torch.randn(200, 32, requires_grad=True)
    labels, factors = torch.randint(200, (64,)), torch.randn(64)
    found = []
    for most in (1 << 28, 0):
        monkeypatch.setattr(head, "KEPT_BYTES", most)
        with torch.autocast("cpu", kind):
            logprobs, _ = linear_logprobs(hidden, weight, labels, tile=16)
        found.append(torch.autograd.grad((logprobs * factors).sum(), (hidden, weight)))
    for kept, anew in zip(*found, strict=True):
        assert float((kept - anew).norm() / anew.norm()) < (0.005 if kind == torch.bfloat16 else 1e-9)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
@pytest.mark.parametrize("function", [linear_cross_entropy, linear_logprobs])
def test_what_is_frozen_gets_no_gradient_and_the_other_the_same(frozen, function):
    (hidden, weight, _), labels = inputs(False)
    full = torch.autograd.grad(function(hidden, weight, labels, tile=TILE)[0].sum(), (hidden, weight))
    hidden.requires_grad_(frozen != "hidden")
    weight.requires_grad_(frozen != "weight")
    free, expected = (weight, full[1]) if frozen == "hidden" else (hidden, full[0])
    value = function(hidden, weight, labels, tile=TILE)[0].sum()
    assert equal(torch.autograd.grad(value, free)[0], expected)


def test_without_gradients_the_loss_is_the_same_and_carries_none():
    tensors, labels = inputs(True)
    with_gradients, _ = linear_cross_entropy(tensors[0], tensors[1], labels, tensors[2])
    with torch.no_grad():
        without, _ = linear_cross_entropy(tensors[0], tensors[1], labels, tensors[2])
    assert not without.requires_grad
    assert equal(without, with_gradients.detach())


def test_no_targets_at_all_still_reach_backward():
    (hidden, weight, _), _ = inputs(False)
    loss, _ = linear_cross_entropy(hidden[:0], weight, torch.empty(0, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0
    assert weight.grad.abs().max() == 0


def test_the_tile_changes_nothing_but_rounding():
    (hidden, weight, _), labels = inputs(False)
    results = [
        torch.autograd.grad(linear_cross_entropy(hidden, weight, labels, tile=tile)[0], weight)[0]
        for tile in (1, 7, 99)
    ]
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])


def test_under_autocast_the_softmax_is_in_float32_and_the_gradient_is_summed_in_float32():
    torch.manual_seed(0)
    hidden = torch.randn(4096, 16, requires_grad=True)
    weight = torch.randn(8, 16, requires_grad=True)
    labels = torch.randint(8, (4096,))
    exact = torch.autograd.grad(linear_cross_entropy(hidden, weight, labels)[0], weight)[0]

    def off(tile: int) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss, statistics = linear_cross_entropy(hidden, weight, labels, tile=tile)
        assert loss.dtype == statistics.logprobs.dtype == torch.float32
        gradient = torch.autograd.grad(loss, weight)[0]
        assert gradient.dtype == torch.float32
        return float((gradient - exact).norm() / exact.norm())

    # A sum of 256 tiles kept in bfloat16 would be off by more than a percent.
    assert off(16) < 0.005


def test_accumulating_tiles_in_bfloat16_would_fail_the_bound_above():
    torch.manual_seed(0)
    parts = torch.randn(256, 8, 16).add_(0.5)
    summed = torch.zeros(8, 16, dtype=torch.bfloat16)
    for part in parts:
        summed += part.bfloat16()
    assert float((summed.float() - parts.sum(0)).norm() / parts.sum(0).norm()) > 0.005


def test_the_gradients_of_a_loss_are_scaled_once_and_handed_out_once():
    torch.manual_seed(0)
    hidden, weight = (torch.randn(size, 8, dtype=torch.float64, requires_grad=True) for size in (5, 11))
    labels = torch.arange(5)
    loss, _ = linear_cross_entropy(hidden, weight, labels, tile=2)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="sum") * 3
    scaled = torch.autograd.grad(loss * 3, (hidden, weight), retain_graph=True)
    for own, other in zip(scaled, torch.autograd.grad(expected, (hidden, weight)), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-12)
    with pytest.raises(RuntimeError, match="earlier backward pass"):
        torch.autograd.grad(loss * 3, (hidden, weight))


def test_whether_a_device_adds_half_precision_to_float32_is_tried():
    assert not _adds_in_place(torch.device("cpu"), torch.bfloat16, torch.float32)  # torch 2.13 on processors
