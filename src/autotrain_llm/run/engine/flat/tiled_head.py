"""Logits, loss and gradients of a language model's head, tile by tile over tokens: the logits of a whole batch are never in memory.

One loop, `TiledPass`, computes the logits of a tile and hands them piece by piece to a target, which keeps its statistics and returns the
gradient of its loss with respect to the logits. The target for cross entropy and log-probabilities is here, the one with a teacher in
`distillation_loss`. Fusing the head with its loss is known from Liger (Hsu et al. 2024, arXiv:2410.10989) and from Wijmans et al. 2024,
arXiv:2411.09009; here it is plain torch and runs on every device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.memory_model import CPU_PIECE, KEPT_BYTES


@dataclass(frozen=True)
class LogitTransform:
    """How an architecture turns `hidden @ weight.T + bias` into logits: times `scale`, then `softcap * tanh(x / softcap)`, then divided
    by the `temperature` that the caller asks for."""

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0


@dataclass(frozen=True)
class Head:
    """The output head, from hidden states (K, H) to logits (K, V): `weight` (V, H), `bias` (V,) and the transform.

    Without a weight the hidden states are the logits themselves.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None = None
    transform: LogitTransform = LogitTransform()

    def first_tokens(self, count: int) -> Head:
        """The head of the first `count` tokens of the vocabulary."""
        weight = None if self.weight is None else self.weight[:count]
        return replace(self, weight=weight, bias=None if self.bias is None else self.bias[:count])

    def vocab_size(self, hidden: torch.Tensor) -> int:
        return hidden.shape[1] if self.weight is None else self.weight.shape[0]


@dataclass
class TokenStatistics:
    """Of each label (K,), without a gradient: its log-probability, whether no token was likelier, the entropy of its position in nats."""

    logprobs: torch.Tensor
    correct: torch.Tensor
    entropy: torch.Tensor | None


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    label_weights: torch.Tensor | None = None,
    transform: LogitTransform = LogitTransform(),
    with_entropy: bool = False,
    tile: int | None = None,
) -> tuple[torch.Tensor, TokenStatistics]:
    """The summed cross entropy of K labels, in nats, each times its weight, and their statistics.

    `hidden` is (K, H), `weight` (V, H), `bias` (V,), `labels` and `label_weights` (K,). Under autocast the matrix products are in its dtype and the softmax
    is in float32. The gradients are computed in this call, for whatever requires one; backward only scales them. The weight's gradient
    is accumulated in float32 across tiles.
    """
    head = Head(weight, bias, transform)
    target = LabelTarget(labels, softmax_dtype(hidden, head), with_entropy=with_entropy, weights=label_weights)
    loss = fused_loss(hidden, head, target, TileOptions.of(hidden, head, tile))
    return loss, target.statistics()


def linear_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    transform: LogitTransform = LogitTransform(),
    with_entropy: bool = False,
    tile: int | None = None,
) -> tuple[torch.Tensor, TokenStatistics]:
    """The log-probability of each of K labels, differentiable token by token, and their statistics; shapes as above.

    For objectives that are no plain sum over tokens. The statistics' entropy is differentiable too.
    """
    options = TileOptions.of(hidden, Head(weight, bias, transform), tile)
    keep = torch.is_grad_enabled() and _fits(labels.shape[0] * weight.shape[0], options.product)
    logprobs, correct, entropy = _LogProbabilities.apply(
        hidden, weight, bias, labels, transform, options, with_entropy, keep
    )
    return logprobs, TokenStatistics(logprobs.detach(), correct, entropy if with_entropy else None)


def label_logprobs(
    hidden: torch.Tensor, head: Head, labels: torch.Tensor, tile: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each label (K,), differentiable, and whether no token was likelier; also where the head has no weight."""
    if head.weight is None:
        logits = hidden if hidden.dtype == torch.float64 else hidden.float()
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, labels[:, None])[:, 0]
        return logprobs, logits.detach().argmax(-1) == labels
    logprobs, statistics = linear_logprobs(hidden, head.weight, labels, head.bias, transform=head.transform, tile=tile)
    return logprobs, statistics.correct


def _fits(logits: int, product: torch.dtype) -> bool:
    """Whether the products of a whole batch may be kept for backward. In float16 small ones would underflow: they are computed again,
    with the loss scale applied."""
    return product != torch.float16 and logits * product.itemsize <= KEPT_BYTES


@dataclass(frozen=True)
class TileOptions:
    """The dtype of the matrix products, that of the softmax, tokens per tile, and per piece of a tile.

    A tile's products are one matrix product each way; what lies between them is done piece by piece, so that on a processor it stays in
    the cache, and on a GPU fewer float32 copies are alive at a time.
    """

    product: torch.dtype
    softmax: torch.dtype
    tile: int
    piece: int

    @classmethod
    def of(
        cls, hidden: torch.Tensor, head: Head, tile: int | None = None, *, with_teacher: bool = False
    ) -> TileOptions:
        device, vocab_size = hidden.device.type, head.vocab_size(hidden)
        product = product_dtype(hidden, head)
        rows = max(1, min(tile or estimate.tile(device, vocab_size), hidden.shape[0]))
        piece = estimate.taught_rows(rows) if with_teacher else rows
        if device == "cpu":
            piece = max(1, min(rows, CPU_PIECE // vocab_size))
        return cls(product, softmax_dtype(hidden, head), rows, piece)


def product_dtype(hidden: torch.Tensor, head: Head) -> torch.dtype:
    """The dtype of the matrix products: autocast's, where it is on."""
    product = hidden.dtype if head.weight is None else torch.promote_types(hidden.dtype, head.weight.dtype)
    device = hidden.device.type
    return (
        torch.get_autocast_dtype(device) if product != torch.float64 and torch.is_autocast_enabled(device) else product
    )


def weighted(values: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Each value times its weight; without weights all weigh 1."""
    return values if weights is None else values * weights


def softmax_dtype(hidden: torch.Tensor, head: Head) -> torch.dtype:
    return torch.float64 if product_dtype(hidden, head) == torch.float64 else torch.float32


class Target(Protocol):
    """The target of the loss: labels, or a teacher."""

    def begin_tile(self, tile: slice) -> None:
        """Called before the pieces of each tile, with its rows."""
        ...

    def apply(self, logits: torch.Tensor, rows: slice, with_gradient: bool) -> torch.Tensor | None:
        """Statistics of the `rows` whose logits these are; returns the gradient of the loss with respect to them, if wanted. The logits
        may be overwritten."""
        ...

    def loss(self) -> torch.Tensor:
        """The loss, summed over all rows, after the last piece."""
        ...


class LabelTarget:
    """-log p(label) of each row: the gradient is p - onehot(label).

    `weights` (K,) multiplies each row's loss and gradient; `entropy_weights` (K,) adds so many times the gradient of its entropy.
    """

    def __init__(
        self,
        labels: torch.Tensor,
        softmax: torch.dtype,
        *,
        with_entropy: bool = False,
        weights: torch.Tensor | None = None,
        entropy_weights: torch.Tensor | None = None,
    ) -> None:
        count, device = labels.shape[0], labels.device
        self.labels, self.weights, self.entropy_weights = labels, weights, entropy_weights
        self.with_entropy = with_entropy
        self.logprobs = torch.empty(count, dtype=softmax, device=device)
        self.correct = torch.empty(count, dtype=torch.bool, device=device)
        self.entropy = torch.empty(count if with_entropy else 0, dtype=softmax, device=device)

    def begin_tile(self, tile: slice) -> None:
        """Nothing to do: labels need no preparation."""

    def apply(self, logits: torch.Tensor, rows: slice, with_gradient: bool) -> torch.Tensor | None:
        labels = self.labels[rows, None]
        label_logits, largest = logits.gather(1, labels)[:, 0], logits.amax(-1)
        probs, logsumexp = softmax_and_logsumexp(logits, largest, overwrite=not self.with_entropy)
        self.logprobs[rows] = label_logits - logsumexp
        self.correct[rows] = label_logits >= largest
        entropy_gradient = self._entropy(logits, probs, logsumexp, rows) if self.with_entropy else None
        if not with_gradient:
            return None
        gradient = probs.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=probs.dtype))
        if self.weights is not None:
            gradient *= self.weights[rows, None]
        if entropy_gradient is not None:
            gradient += entropy_gradient
        return gradient

    def _entropy(
        self, logits: torch.Tensor, probs: torch.Tensor, logsumexp: torch.Tensor, rows: slice
    ) -> torch.Tensor | None:
        weighted = logits.mul_(probs)
        self.entropy[rows] = logsumexp - weighted.sum(-1)
        if self.entropy_weights is None:
            return None
        # d entropy / d logits = -p (log p + entropy)
        gradient = probs * (logsumexp - self.entropy[rows])[:, None] - weighted
        return gradient.mul_(self.entropy_weights[rows, None])

    def loss(self) -> torch.Tensor:
        return -weighted(self.logprobs, self.weights).sum()

    def statistics(self) -> TokenStatistics:
        return TokenStatistics(self.logprobs, self.correct, self.entropy if self.with_entropy else None)


def softmax_and_logsumexp(
    logits: torch.Tensor, largest: torch.Tensor, *, overwrite: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax (K, V) and the logarithm of the sum of exponentials (K,); `largest` (K,) are the rows' maxima.

    That sum is exp(largest) over the largest probability, which spares a second exponential of everything. On a processor, where each
    row is read before it is written, the probabilities overwrite the logits unless these are needed later.
    """
    in_place = overwrite and logits.device.type == "cpu"
    probs = torch.softmax(logits, dim=-1, out=logits) if in_place else torch.softmax(logits, dim=-1)
    return probs, largest - probs.amax(-1).log_()


class LogitTiles:
    """The logits of K hidden states: products a tile at a time, exact logits a piece of a tile at a time.

    Both are in memory that the next tile or piece overwrites, because fresh pages for every tile cost more than the softmax does.
    With `keep` all tiles' products stay.
    """

    def __init__(self, hidden: torch.Tensor, head: Head, options: TileOptions, *, keep: bool = False) -> None:
        self.hidden, self.options, self.keep = hidden.to(options.product), options, keep
        self.weight = None if head.weight is None else head.weight.to(options.product)
        self.bias = None if head.bias is None else head.bias.to(options.softmax)
        self.transform = head.transform
        count, vocab_size = hidden.shape[0], head.vocab_size(hidden)
        if self.weight is not None:
            self.products = self.hidden.new_empty(count if keep else min(options.tile, count), vocab_size)
        self.exact = self.hidden.new_empty(min(options.piece, count), vocab_size, dtype=options.softmax)

    def tiles(self) -> Iterator[slice]:
        """The rows of each tile."""
        for start in range(0, self.hidden.shape[0], self.options.tile):
            yield slice(start, min(start + self.options.tile, self.hidden.shape[0]))

    def pieces(self, tile: slice) -> Iterator[slice]:
        """The rows of each piece of a tile."""
        for start in range(tile.start, tile.stop, self.options.piece):
            yield slice(start, min(start + self.options.piece, tile.stop))

    def multiply(self, tile: slice) -> torch.Tensor:
        """The products (rows, V) of a tile."""
        if self.weight is None:
            return self.hidden[tile]
        out = self.products[tile] if self.keep else self.products[: tile.stop - tile.start]
        return torch.mm(self.hidden[tile], self.weight.T, out=out)

    def logits(self, products: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The logits of a piece in the softmax's dtype, and where they are softcapped the slope of that."""
        logits, slope = self.exact[: products.shape[0]].copy_(products), None
        if self.bias is not None:
            logits += self.bias
        if self.transform.scale != 1.0:
            logits *= self.transform.scale
        if self.transform.softcap is not None:
            tanh = logits.div_(self.transform.softcap).tanh_()
            slope = 1 - tanh * tanh
            logits = tanh.mul_(self.transform.softcap)
        if self.transform.temperature != 1.0:
            logits /= self.transform.temperature
        return logits, slope


class TiledPass:
    """One pass over the tiles: a target's statistics, and the gradients that are needed of hidden states, weight and bias.

    With `keep`, `logits.products` holds at the end the gradient with respect to the products of all rows (K, V).
    """

    def __init__(
        self,
        hidden: torch.Tensor,
        head: Head,
        options: TileOptions,
        needs_grad: Sequence[bool],
        *,
        keep: bool = False,
    ) -> None:
        self.logits = LogitTiles(hidden, head, options, keep=keep)
        self.with_gradient = any(needs_grad) or keep
        self.dtypes = [None if tensor is None else tensor.dtype for tensor in (hidden, head.weight, head.bias)]
        self.hidden_grad = torch.empty_like(self.logits.hidden) if needs_grad[0] else None
        self.weight_grad, self.bias_grad = (
            None if parameter is None or not needed else torch.zeros_like(parameter, dtype=options.softmax)
            for parameter, needed in zip((head.weight, head.bias), needs_grad[1:], strict=True)
        )

    def run(self, target: Target) -> None:
        for tile in self.logits.tiles():
            products = self.logits.multiply(tile)
            target.begin_tile(tile)
            # Gradients overwrite the products that they belong to.
            gradients = products
            if self.logits.weight is None and self.hidden_grad is not None:
                gradients = self.hidden_grad[tile]
            for rows in self.logits.pieces(tile):
                own = slice(rows.start - tile.start, rows.stop - tile.start)
                self._piece(target, products[own], rows, gradients[own])
            if self.hidden_grad is not None and self.logits.weight is not None:
                torch.mm(gradients, self.logits.weight, out=self.hidden_grad[tile])
            if self.weight_grad is not None:
                _add_product(self.weight_grad, gradients.T, self.logits.hidden[tile])

    def _piece(self, target: Target, products: torch.Tensor, rows: slice, out: torch.Tensor) -> None:
        logits, softcap_slope = self.logits.logits(products)
        gradient = target.apply(logits, rows, self.with_gradient)
        if gradient is None:
            return
        if softcap_slope is not None:
            gradient *= softcap_slope
        factor = self.logits.transform.scale / self.logits.transform.temperature
        if factor != 1.0:
            gradient *= factor
        if self.bias_grad is not None:
            self.bias_grad += gradient.sum(0)
        out.copy_(gradient)

    def run_from_kept(self, kept_gradients: torch.Tensor, weights: torch.Tensor) -> None:
        """The gradients from the (K, V) that an earlier pass kept, each row times its weight (K,)."""
        weights = weights[:, None]
        if self.hidden_grad is not None and self.logits.weight is not None:
            self.hidden_grad = torch.mm(kept_gradients, self.logits.weight) * weights
        if self.weight_grad is not None:
            _add_product(self.weight_grad, kept_gradients.T, (self.logits.hidden * weights).to(kept_gradients.dtype))
        if self.bias_grad is not None:
            _add_product(self.bias_grad[:, None], kept_gradients.T, weights.to(kept_gradients.dtype))

    def gradients(self) -> list[torch.Tensor | None]:
        """Those of hidden states, weight and bias, each in its own dtype."""
        sums = (self.hidden_grad, self.weight_grad, self.bias_grad)
        return [None if tensor is None else tensor.to(dtype) for tensor, dtype in zip(sums, self.dtypes, strict=True)]


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """`total += left @ right` with the sum kept in the dtype of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif total.device.type == "cuda" and _adds_in_place(total.device, left.dtype, total.dtype):
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    elif total.device.type == "cuda":
        total += torch.mm(left, right, out_dtype=total.dtype)
    else:
        total += left @ right


@cache
def _adds_in_place(device: torch.device, product: torch.dtype, total: torch.dtype) -> bool:
    """Whether torch adds a product in half precision to a float32 sum in one pass over it, tried on small matrices: not every version and
    device does. Otherwise the product is written, and read again."""
    left, right = (torch.full((8, 8), value, dtype=product, device=device) for value in (0.5, 2.0))
    added = torch.ones(8, 8, dtype=total, device=device)
    try:
        torch.addmm(added, left, right, out_dtype=total, out=added)
    except (RuntimeError, TypeError):
        return False
    return bool((added == 9).all())


def fused_loss(hidden: torch.Tensor, head: Head, target: Target, options: TileOptions) -> torch.Tensor:
    """The target's loss, whose gradients are computed in the same pass: backward only scales them, in place, and so can be called once."""
    return _FusedLoss.apply(hidden, head.weight, head.bias, head.transform, target, options, torch.is_grad_enabled())


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        transform: LogitTransform,
        target: Target,
        options: TileOptions,
        grad_enabled: bool,
    ) -> torch.Tensor:
        needs_grad = [grad_enabled and needed for needed in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden.device.type, enabled=False):
            tiled = TiledPass(hidden, Head(weight, bias, transform), options, needs_grad)
            tiled.run(target)
        ctx.gradients = tiled.gradients()  # and not saved for backward, which changes them
        return target.loss()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the gradients of this loss were handed out by an earlier backward pass")
        scaled = [None if gradient is None else gradient.mul_(upstream.to(gradient.dtype)) for gradient in gradients]
        return *scaled, None, None, None, None


class _LogProbabilities(torch.autograd.Function):
    """Backward takes a gradient per token, which the forward pass can't know: it uses the products' gradients that were kept where the
    batch is small, and else runs the tiles once more."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        transform: LogitTransform,
        options: TileOptions,
        with_entropy: bool,
        keep: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        target = LabelTarget(labels, options.softmax, with_entropy=with_entropy)
        with torch.autocast(hidden.device.type, enabled=False):
            tiled = TiledPass(hidden, Head(weight, bias, transform), options, [False, False, False], keep=keep)
            tiled.run(target)
        ctx.save_for_backward(hidden, weight, bias, labels, tiled.logits.products if keep else None)
        ctx.settings = transform, options, with_entropy
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(target.correct)
        return target.logprobs, target.correct, target.entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, logprobs_grad: torch.Tensor | None, correct_grad: None, entropy_grad: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, labels, kept_gradients = ctx.saved_tensors
        transform, options, with_entropy = ctx.settings
        if not with_entropy:
            entropy_grad = None
        if logprobs_grad is None:
            weights = torch.zeros_like(labels, dtype=options.softmax)
        else:
            weights = -logprobs_grad.to(options.softmax)  # the target's loss is minus the log-probability
        with torch.autocast(hidden.device.type, enabled=False):
            tiled = TiledPass(hidden, Head(weight, bias, transform), options, list(ctx.needs_input_grad[:3]))
            if kept_gradients is not None and entropy_grad is None:
                tiled.run_from_kept(kept_gradients, weights)
            else:
                with_entropy = entropy_grad is not None
                tiled.run(
                    LabelTarget(
                        labels,
                        options.softmax,
                        with_entropy=with_entropy,
                        weights=weights,
                        entropy_weights=entropy_grad,
                    )
                )
        return *tiled.gradients(), None, None, None, None, None
