"""From hidden states to log-probabilities, loss and gradients, tile by tile over tokens, without ever holding all logits.

`linear_cross_entropy` is for an objective that is a plain sum over tokens: it computes the gradients together with the loss,
and its backward pass only scales them. `linear_logprobs` is for every other objective: its backward pass takes any gradient per
token, and computes the logits of a tile once more unless there are so few that they were kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Tokens whose logits are held at once. On a processor the size hardly matters between 256 and 1024; below, the matrix products
# get slower, above, a tile leaves the cache. On a GPU the tile is what keeps the logits below this many bytes in float32.
CPU_TILE = 512
CUDA_TILE_BYTES = 1 << 29
# What is kept for the backward pass of log-probabilities, one number for each target and word, up to so many bytes.
KEPT_BYTES = 1 << 26
# Logits between whose matrix products everything is done at once: a megabyte in float32, which stays in a core's cache.
CPU_PIECE = 1 << 18


@dataclass(frozen=True)
class Logits:
    """How an architecture turns `hidden @ weight.T + bias` into logits: `scale` is multiplied in, then `softcap * tanh(x / softcap)`.

    `temperature` is of the distribution that is asked for: what comes out is divided by it.
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    @property
    def slant(self) -> float:
        """By how much a product changes its logit, where nothing is softcapped."""
        return self.scale / self.temperature


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
    logprobs, correct, entropy = _LogProbabilities.apply(hidden, weight, bias, labels, options, torch.is_grad_enabled())
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
    if tile is None:
        tile = CPU_TILE if device == "cpu" else max(128, CUDA_TILE_BYTES // (4 * weight.shape[0]))
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


class _LogProbabilities(torch.autograd.Function):
    """Log-probabilities forward; what was kept of the tiles, or the tiles once more, with a gradient per token, backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        options: Options,
        gradients: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = _Tiles(hidden, weight, bias, labels, options, [False, False, False])
            tiles.run(keep=gradients and any(ctx.needs_input_grad) and _few(tiles, options))
        ctx.save_for_backward(hidden, weight, bias, labels, tiles.kept)
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
            if kept is not None and not entropy_counts:
                tiles.run_again(kept, factor)
            else:
                tiles.run(factor, of_entropy if entropy_counts else None)
        return *tiles.gradients(), None, None, None


def _few(tiles: _Tiles, options: Options) -> bool:
    """Whether what the backward pass needs of the logits is small enough to be kept; of softcapped ones it needs the slope too."""
    size = tiles.labels.shape[0] * tiles.weight.shape[0] * options.product.itemsize
    return options.logits.softcap is None and size <= KEPT_BYTES


class _Tiles:
    """One pass over the tiles: statistics for every target, and the gradients that are wanted of hidden states, weight and bias.

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
    ) -> None:
        self.labels, self.options, self.any_wanted = labels, options, any(wanted)
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
        self.products = torch.empty(self.rows, words, dtype=options.product, device=hidden.device)
        self.exact = torch.empty(self.piece, words, dtype=options.softmax, device=hidden.device)
        self.kept: torch.Tensor | None = None

    def run(
        self, factor: torch.Tensor | None = None, of_entropy: torch.Tensor | None = None, *, keep: bool = False
    ) -> None:
        """Gradients are those of minus the labels' log-probabilities, each times its `factor`, and of the entropies times `of_entropy`.

        With `keep`, minus each log-probability's gradient by the logits is left in `kept` (K, V), for `run_again`.
        """
        if keep:
            self.kept = torch.empty(
                self.labels.shape[0], self.weight.shape[0], dtype=self.options.product, device=self.hidden.device
            )
        for tile in self._tiles():
            room = self.products[: tile.stop - tile.start] if self.kept is None else self.kept[tile]
            products = torch.mm(self.hidden[tile], self.weight.T, out=room)
            for where in self._pieces(tile):
                within = slice(where.start - tile.start, where.stop - tile.start)
                self._piece(products[within], where, factor, of_entropy)
            self._add(products, tile)

    def run_again(self, kept: torch.Tensor, factor: torch.Tensor) -> None:
        """Gradients alone, from what a run kept."""
        slanted = factor * self.options.logits.slant
        for tile in self._tiles():
            products = self.products[: tile.stop - tile.start]
            for where in self._pieces(tile):
                within = slice(where.start - tile.start, where.stop - tile.start)
                gradient = torch.mul(kept[where], slanted[where, None], out=self.exact[: where.stop - where.start])
                if self.of_bias is not None:
                    self.of_bias += gradient.sum(0)
                products[within].copy_(gradient)
            self._add(products, tile)

    def _tiles(self) -> Iterator[slice]:
        return _cut(slice(0, self.labels.shape[0]), self.rows)

    def _pieces(self, tile: slice) -> Iterator[slice]:
        return _cut(tile, self.piece)

    def _add(self, products: torch.Tensor, tile: slice) -> None:
        """What a tile adds to the gradients that are wanted; `products` is its logits' gradient."""
        if self.of_hidden is not None:
            torch.mm(products, self.weight, out=self.of_hidden[tile])
        if self.of_weight is not None:
            add_product(self.of_weight, products.T, self.hidden[tile])

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
        if of_entropy is not None:  # the entropy's gradient is -p (log p + entropy)
            weighted = logits.mul_(shares)
            self.entropy[where] = total - weighted.sum(-1)
            bonus = shares * (total - self.entropy[where])[:, None] - weighted
            bonus *= of_entropy[where, None]
        elif self.options.with_entropy:
            self.entropy[where] = total - torch.linalg.vecdot(logits, shares)
        if self.any_wanted or self.kept is not None:
            gradient = shares
            gradient.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=gradient.dtype))
            if factor is not None:
                gradient *= factor[where, None]
            if bonus is not None:
                gradient += bonus
            if slope is not None:
                gradient *= slope
            if self.options.logits.slant != 1.0 and self.kept is None:
                gradient *= self.options.logits.slant
            if self.of_bias is not None:
                self.of_bias += gradient.sum(0)
            products.copy_(gradient)

    def _softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """In place on a processor, where each row is read before it is written, unless the logits are needed after it."""
        if self.options.with_entropy or logits.device.type != "cpu":
            return torch.softmax(logits, dim=-1)
        return torch.softmax(logits, dim=-1, out=logits)


def _cut(whole: slice, size: int) -> Iterator[slice]:
    """Its parts of this size, the last one smaller."""
    return (slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, max(1, size)))


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
