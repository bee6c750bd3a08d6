"""From hidden states to log-probabilities, loss and gradients, tile by tile over tokens, without ever holding all logits.

`linear_cross_entropy` is for an objective that is a plain sum over tokens: it computes the gradients together with the loss,
and its backward pass only scales them. `linear_logprobs` is for every other objective: its backward pass takes any gradient
per token. What that is multiplied by is kept from the forward pass where it is small, and else made once more, tile by tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.memory_model import CPU_PIECE, KEPT_BYTES


@dataclass(frozen=True)
class Logits:
    """How an architecture turns `hidden @ weight.T + bias` into logits: `scale` is multiplied in, then `softcap * tanh(x / softcap)`.

    `temperature` is of the distribution that is asked for: what comes out is divided by it.
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0


@dataclass
class TokenStatistics:
    """What the tiles knew about each target, without a gradient: its log-probability, whether no word was likelier,
    the entropy in nats."""

    logprobs: torch.Tensor
    correct: torch.Tensor
    entropy: torch.Tensor | None


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    logits: Logits = Logits(),
    with_entropy: bool = False,
    tile: int | None = None,
) -> tuple[torch.Tensor, TokenStatistics]:
    """The summed cross entropy of K targets, in nats, and their statistics.

    `hidden` is (K, H), `weight` (V, H), `bias` (V,), `labels` (K,). Under autocast the matrix products are in its type and the
    softmax in float32. Gradients are computed in this call where gradients are on, only for what requires them; the one of
    the weight is accumulated in float32 across tiles.
    """
    options = options_of(hidden, weight, logits, with_entropy, tile)
    loss, logprobs, correct, entropy = _CrossEntropy.apply(
        hidden, weight, bias, labels, options, torch.is_grad_enabled()
    )
    return loss, TokenStatistics(logprobs, correct, entropy if with_entropy else None)


def linear_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    logits: Logits = Logits(),
    with_entropy: bool = False,
    tile: int | None = None,
) -> tuple[torch.Tensor, TokenStatistics]:
    """The log-probability of each of K labels, differentiable token by token, and their statistics. Shapes as above.

    The statistics' entropy is differentiable too.
    """
    options = options_of(hidden, weight, logits, with_entropy, tile)
    keep = torch.is_grad_enabled() and _worth_keeping(labels.shape[0] * weight.shape[0], options.product)
    logprobs, correct, entropy = _LogProbabilities.apply(hidden, weight, bias, labels, options, keep)
    return logprobs, TokenStatistics(logprobs.detach(), correct, entropy if with_entropy else None)


@dataclass(frozen=True)
class Options:
    """What every tile needs to know: the type of the matrix products, that of the softmax, tokens per tile."""

    product: torch.dtype
    softmax: torch.dtype
    tile: int
    logits: Logits
    with_entropy: bool


def options_of(
    hidden: torch.Tensor, weight: torch.Tensor, logits: Logits, with_entropy: bool, tile: int | None
) -> Options:
    device = hidden.device.type
    product = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device) and product != torch.float64:
        product = torch.get_autocast_dtype(device)
    softmax = torch.float64 if product == torch.float64 else torch.float32
    tile = tile or estimate.tile(device, weight.shape[0])
    return Options(product, softmax, tile, logits, with_entropy)


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the tiles; backward multiplies the gradients by the one number it is given."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        options: Options,
        gradients: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        wanted = [gradients and needed for needed in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = _Tiles(hidden, weight, bias, labels, options, wanted)
            tiles.run()
        ctx.save_for_backward(*tiles.gradients())
        ctx.mark_non_differentiable(tiles.logprobs, tiles.correct, tiles.entropy)
        return -tiles.logprobs.sum(), tiles.logprobs, tiles.correct, tiles.entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor, *unused: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled = [None if one is None else one * upstream.to(one.dtype) for one in ctx.saved_tensors]
        return *scaled, None, None, None


def _worth_keeping(logits: int, product: torch.dtype) -> bool:
    """Whether so many logits are few. In float16 the small ones would vanish: they are made anew, with the scale of the loss on them."""
    return product != torch.float16 and logits * product.itemsize <= KEPT_BYTES


class _LogProbabilities(torch.autograd.Function):
    """Log-probabilities forward; backward, with a gradient per token, either what was kept of the logits or the tiles once more."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        options: Options,
        keep: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = _Tiles(hidden, weight, bias, labels, options, [False, False, False], keep=keep)
            tiles.run()
        ctx.save_for_backward(hidden, weight, bias, labels, tiles.products if keep else None)
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(tiles.correct)
        return tiles.logprobs, tiles.correct, tiles.entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, upstream: torch.Tensor | None, correct: None, of_entropy: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, labels, kept = ctx.saved_tensors
        entropy_counts = ctx.options.with_entropy and of_entropy is not None
        options = replace(ctx.options, with_entropy=entropy_counts)
        factor = torch.zeros_like(labels, dtype=options.softmax) if upstream is None else -upstream.to(options.softmax)
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = _Tiles(hidden, weight, bias, labels, options, list(ctx.needs_input_grad[:3]))
            if kept is None or entropy_counts:
                tiles.run(factor, of_entropy if entropy_counts else None)
            else:
                tiles.rerun(kept, factor)
        return *tiles.gradients(), None, None, None


class _Tiles:
    """One pass over the tiles: statistics for every target, and the gradients that are wanted of hidden states, weight and bias.

    With `keep`, `products` holds at the end, for all targets, what minus the log-probability's gradient is by the products.

    The matrix products are per tile, everything between them per piece of a tile, in memory that all tiles share: fresh
    pages for every tile cost more than the softmax does.
    """

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        options: Options,
        wanted: list[bool],
        *,
        keep: bool = False,
    ) -> None:
        self.labels, self.options, self.slopes_wanted = labels, options, any(wanted) or keep
        self.hidden, self.weight = hidden.to(options.product), weight.to(options.product)
        self.bias = None if bias is None else bias.to(options.softmax)
        self.types = [None if one is None else one.dtype for one in (hidden, weight, bias)]
        self.of_hidden = torch.empty_like(self.hidden) if wanted[0] else None
        self.of_weight = torch.zeros_like(weight, dtype=options.softmax) if wanted[1] else None
        self.of_bias = torch.zeros_like(bias, dtype=options.softmax) if bias is not None and wanted[2] else None
        count, words = labels.shape[0], weight.shape[0]
        self.logprobs = torch.empty(count, dtype=options.softmax, device=hidden.device)
        self.correct = torch.empty(count, dtype=torch.bool, device=hidden.device)
        self.entropy = torch.empty(count if options.with_entropy else 0, dtype=options.softmax, device=hidden.device)
        self.rows = min(options.tile, count)
        self.piece = self.rows if hidden.device.type != "cpu" else max(1, min(self.rows, CPU_PIECE // words))
        self.keep = keep

    def run(self, factor: torch.Tensor | None = None, of_entropy: torch.Tensor | None = None) -> None:
        """Gradients are those of minus the labels' log-probabilities, each times its `factor`, and of the entropies times `of_entropy`."""
        count, words = self.labels.shape[0], self.weight.shape[0]
        self.products = self.hidden.new_empty(count if self.keep else self.rows, words)
        self.exact = self.hidden.new_empty(self.piece, words, dtype=self.options.softmax)
        for start in range(0, count, max(1, self.rows)):
            end = min(start + self.rows, count)
            room = self.products[start:end] if self.keep else self.products[: end - start]
            products = torch.mm(self.hidden[start:end], self.weight.T, out=room)
            for first in range(start, end, self.piece):
                last = min(first + self.piece, end)
                self._piece(products[first - start : last - start], slice(first, last), factor, of_entropy)
            if self.of_hidden is not None:
                torch.mm(products, self.weight, out=self.of_hidden[start:end])
            if self.of_weight is not None:
                add_product(self.of_weight, products.T, self.hidden[start:end])

    def rerun(self, kept: torch.Tensor, factor: torch.Tensor) -> None:
        """The gradients, from the `products` that an earlier pass kept, (K, V)."""
        factor = factor[:, None]
        if self.of_hidden is not None:
            self.of_hidden = torch.mm(kept, self.weight) * factor
        if self.of_weight is not None:
            add_product(self.of_weight, kept.T, (self.hidden * factor).to(kept.dtype))
        if self.of_bias is not None:
            add_product(self.of_bias[:, None], kept.T, factor.to(kept.dtype))

    def gradients(self) -> list[torch.Tensor | None]:
        sums = (self.of_hidden, self.of_weight, self.of_bias)
        return [None if one is None else one.to(kind) for one, kind in zip(sums, self.types, strict=True)]

    def _piece(
        self, products: torch.Tensor, where: slice, factor: torch.Tensor | None, of_entropy: torch.Tensor | None
    ) -> None:
        """Statistics of a piece's products, over which its gradient is written."""
        labels = self.labels[where, None]
        logits, slope = exact(products, self.bias, self.options.logits, self.exact)
        of_label, largest = logits.gather(1, labels)[:, 0], logits.amax(-1)
        shares = self._softmax(logits)
        # The sum of exponentials is one over the largest share: that spares a second exponential of everything.
        total = largest - shares.amax(-1).log_()
        self.logprobs[where] = of_label - total
        self.correct[where] = of_label >= largest
        bonus = None
        if self.options.with_entropy:
            weighted = logits.mul_(shares)
            self.entropy[where] = total - weighted.sum(-1)
            if of_entropy is not None:  # the entropy's gradient is -p (log p + entropy)
                bonus = shares * (total - self.entropy[where])[:, None] - weighted
                bonus *= of_entropy[where, None]
        if self.slopes_wanted:
            gradient = shares
            gradient.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=gradient.dtype))
            if factor is not None:
                gradient *= factor[where, None]
            if bonus is not None:
                gradient += bonus
            if slope is not None:
                gradient *= slope
            slant = self.options.logits.scale / self.options.logits.temperature
            if slant != 1.0:
                gradient *= slant
            if self.of_bias is not None:
                self.of_bias += gradient.sum(0)
            products.copy_(gradient)

    def _softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """In place on a processor, where each row is read before it is written, unless the logits are needed after it."""
        if self.options.with_entropy or logits.device.type != "cpu":
            return torch.softmax(logits, dim=-1)
        return torch.softmax(logits, dim=-1, out=logits)


def exact(
    products: torch.Tensor, bias: torch.Tensor | None, head: Logits, room: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The logits in the type of `room`, where they are written, and where they are softcapped the slope of that."""
    logits, slope = room[: products.shape[0]].copy_(products), None
    if bias is not None:
        logits += bias
    if head.scale != 1.0:
        logits *= head.scale
    if head.softcap is not None:
        bent = logits.div_(head.softcap).tanh_()
        slope = 1 - bent * bent
        logits = bent.mul_(head.softcap)
    if head.temperature != 1.0:
        logits /= head.temperature
    return logits, slope


def add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """`total += left @ right` with the sum kept in the type of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif total.device.type == "cuda":
        total += torch.mm(left, right, out_dtype=total.dtype)
    else:
        total += left @ right
