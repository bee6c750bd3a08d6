"""From the hidden states of student and teacher to the loss that wraps the task's, tile by tile over tokens: full logits are never held.

Loss and gradients come out of one pass, as in `flat/head.py`. What the teacher says comes from its hidden states and its head, in the same
tiles, or from its likeliest words, which were kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autotrain_llm.planning.memory_model import taught_rows
from autotrain_llm.run.engine.flat.divergences import DIVERGENCES, topk_divergence
from autotrain_llm.run.engine.flat.linear_cross_entropy import (
    CPU_PIECE,
    Logits,
    Options,
    add_product,
    exact,
    linear_logprobs,
    options_of,
)

PLAIN = Logits()


@dataclass(frozen=True)
class Head:
    """What makes logits of hidden states: `weight` (V, H), `bias` (V,). Without a weight the hidden states are the logits themselves."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None = None
    logits: Logits = PLAIN

    def cut(self, words: int) -> Head:
        """The head of the first words alone."""
        weight = None if self.weight is None else self.weight[:words]
        return replace(self, weight=weight, bias=None if self.bias is None else self.bias[:words])


@dataclass(frozen=True)
class TeacherHidden:
    """A teacher beside the batch: its hidden states (tokens, H) and its head."""

    hidden: torch.Tensor
    head: Head

    @property
    def words(self) -> int:
        return self.hidden.shape[1] if self.head.weight is None else self.head.weight.shape[0]


@dataclass(frozen=True)
class TopKLogprobs:
    """The words (tokens, k) that a teacher finds likeliest, their log-probabilities at the temperature, and that of all others (tokens,)."""

    ids: torch.Tensor
    logprobs: torch.Tensor
    rest: torch.Tensor


@dataclass(frozen=True)
class DistillTarget:
    """What a batch is to learn from its teacher.

    `share` of the loss is the teacher's (α), which is heard at the targets `where` (all of them without it), each counting `weights` (one
    without it); the first `words` of both vocabularies are compared. `alone` leaves the task's loss to whoever asked, who gets its
    log-probabilities with their gradient.
    """

    teacher: TeacherHidden | TopKLogprobs
    divergence: str
    temperature: float
    share: float
    words: int
    where: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    alone: bool = False


@dataclass
class DistillOutput:
    """`loss`, a sum with its gradient: of both parts, or for a lesson `alone` of the teacher's. `divergence` (tokens,) has none."""

    loss: torch.Tensor
    logprobs: torch.Tensor
    correct: torch.Tensor
    divergence: torch.Tensor


def distillation_loss(
    hidden: torch.Tensor, head: Head, labels: torch.Tensor, distill_target: DistillTarget, *, tile: int | None = None
) -> DistillOutput:
    """`(1 - α) Σ -log q(label) + α T² Σ weight · divergence`, in nats, of K hidden states (K, H) and labels (K,)."""
    if not distill_target.alone:
        loss, logprobs, correct, divergence = _apply(hidden, head, labels, distill_target, tile)
        return DistillOutput(loss, logprobs, correct, divergence)
    logprobs, correct = label_logprobs(hidden, head, labels, tile)
    heard = hidden if distill_target.where is None else hidden.index_select(0, distill_target.where)
    loss, _, _, divergence = _apply(heard, head, labels.new_zeros(heard.shape[0]), distill_target, tile)
    return DistillOutput(loss, logprobs, correct, divergence)


def label_logprobs(
    hidden: torch.Tensor, head: Head, labels: torch.Tensor, tile: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-probability of each label, differentiable, and whether no word was likelier."""
    if head.weight is None:
        chosen = hidden if hidden.dtype == torch.float64 else hidden.float()
        logprobs = torch.log_softmax(chosen, dim=-1).gather(1, labels[:, None])[:, 0]
        return logprobs, chosen.detach().argmax(-1) == labels
    logprobs, statistics = linear_logprobs(hidden, head.weight, labels, head.bias, logits=head.logits, tile=tile)
    return logprobs, statistics.correct


@torch.no_grad()
def topk_logprobs(heard: TeacherHidden, count: int, temperature: float, *, tile: int | None = None) -> TopKLogprobs:
    """The `count` likeliest words of each token, tile by tile."""
    options = _options(heard.hidden, heard.head, tile)
    parts = []
    with torch.autocast(heard.hidden.device.type, enabled=False):
        rows = _piece(heard.hidden.device, options.tile, heard.words)
        teacher = _Teacher(heard, options, rows)
        for start in range(0, heard.hidden.shape[0], options.tile):
            for logits in teacher.pieces(slice(start, start + options.tile), temperature, rows):
                total = torch.logsumexp(logits, -1, keepdim=True)
                best = torch.topk(logits, min(count, logits.shape[1]), dim=-1)
                rest = torch.logsumexp(logits.scatter(1, best.indices, -torch.inf), -1)
                parts.append((best.indices, best.values - total, rest - total[:, 0]))
    if not parts:
        empty = torch.empty(0, min(count, teacher.words), device=heard.hidden.device)
        return TopKLogprobs(empty.long(), empty, empty.sum(-1))
    return TopKLogprobs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _options(hidden: torch.Tensor, head: Head, tile: int | None) -> Options:
    """Tokens per tile, and the types; logits that are there already have as many words as the hidden states are wide."""
    like = hidden.T if head.weight is None else head.weight
    return options_of(hidden, like, head.logits, False, tile)


def _piece(device: torch.device, rows: int, words: int) -> int:
    """Of so many rows of matrix products, those that are in the softmax's type at once. The products keep whole tiles: for each, the
    gradient of the weight is read and written once."""
    return max(1, min(rows, CPU_PIECE // words) if device.type == "cpu" else taught_rows(rows))


def _apply(
    hidden: torch.Tensor, head: Head, labels: torch.Tensor, distill_target: DistillTarget, tile: int | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    options = _options(hidden, head, tile)
    heard = distill_target.teacher
    of_teacher = _options(heard.hidden, heard.head, options.tile) if isinstance(heard, TeacherHidden) else None
    return _Learning.apply(
        hidden,
        head.weight,
        head.bias,
        labels,
        distill_target,
        options,
        of_teacher,
        head.logits,
        torch.is_grad_enabled(),
    )


class _Learning(torch.autograd.Function):
    """Loss and gradients in one pass over the tiles; backward multiplies the gradients by the one number it is given."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        distill_target: DistillTarget,
        options: Options,
        of_teacher: Options | None,
        logits: Logits,
        gradients: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        wanted = [gradients and needed for needed in ctx.needs_input_grad[:3]]
        with torch.autocast(hidden.device.type, enabled=False):
            tiles = _Tiles(hidden, Head(weight, bias, logits), labels, distill_target, options, of_teacher, wanted)
            tiles.run()
        ctx.save_for_backward(*tiles.gradients())
        ctx.mark_non_differentiable(tiles.logprobs, tiles.correct, tiles.divergence)
        return tiles.loss(), tiles.logprobs, tiles.correct, tiles.divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor, *unused: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scaled = [None if one is None else one * upstream.to(one.dtype) for one in ctx.saved_tensors]
        return *scaled, None, None, None, None, None, None


class _Teacher:
    """The teacher's logits, a tile of matrix products at a time and a piece of it in the softmax's type."""

    def __init__(self, heard: TeacherHidden, options: Options, piece: int) -> None:
        self.head, self.options = heard.head, options
        self.hidden = heard.hidden.to(options.product)
        self.weight = None if heard.head.weight is None else heard.head.weight.to(options.product)
        self.bias = None if heard.head.bias is None else heard.head.bias.to(options.softmax)
        self.words = self.hidden.shape[1] if self.weight is None else self.weight.shape[0]
        rows = min(options.tile, self.hidden.shape[0])
        device = self.hidden.device
        self.products = torch.empty(rows, self.words, dtype=options.product, device=device)
        self.exact = torch.empty(min(piece, rows), self.words, dtype=options.softmax, device=device)

    def multiply(self, tile: slice) -> None:
        """The products of a tile, of which `piece` then takes some."""
        if self.weight is None:
            self.products = self.hidden[tile]
        else:
            rows = self.hidden[tile]
            torch.mm(rows, self.weight.T, out=self.products[: rows.shape[0]])

    def piece(self, rows: slice, temperature: float, words: int | None = None) -> torch.Tensor:
        """Logits over the temperature, in memory that the next piece takes over."""
        logits = exact(self.products[rows], self.bias, replace(self.head.logits, temperature=temperature), self.exact)[
            0
        ]
        return logits if words is None or words == self.words else logits[:, :words]

    def pieces(self, tile: slice, temperature: float, rows: int) -> Iterator[torch.Tensor]:
        """A tile's logits, as many rows at once."""
        self.multiply(tile)
        count = min(tile.stop, self.hidden.shape[0]) - tile.start
        for first in range(0, count, rows):
            yield self.piece(slice(first, min(first + rows, count)), temperature)


class _Tiles:
    """One pass over the tiles: the loss, statistics of every target, and the gradients that are wanted of hidden states, weight, bias."""

    def __init__(
        self,
        hidden: torch.Tensor,
        head: Head,
        labels: torch.Tensor,
        distill_target: DistillTarget,
        options: Options,
        of_teacher: Options | None,
        wanted: list[bool],
    ) -> None:
        self.labels, self.distill_target, self.options, self.any_wanted = labels, distill_target, options, any(wanted)
        self.hidden, self.head = hidden.to(options.product), head
        self.weight = None if head.weight is None else head.weight.to(options.product)
        self.bias = None if head.bias is None else head.bias.to(options.softmax)
        self.types = [None if one is None else one.dtype for one in (hidden, head.weight, head.bias)]
        self.of_hidden = torch.empty_like(self.hidden) if wanted[0] else None
        self.of_weight = _zeros(head.weight, options) if wanted[1] else None
        self.of_bias = _zeros(head.bias, options) if wanted[2] else None
        count, device = hidden.shape[0], hidden.device
        words = hidden.shape[1] if self.weight is None else self.weight.shape[0]
        self.logprobs = torch.zeros(count, dtype=options.softmax, device=device)
        self.correct = torch.zeros(count, dtype=torch.bool, device=device)
        self.divergence = torch.zeros(count, dtype=options.softmax, device=device)
        self.rows = min(options.tile, count)
        self.piece = _piece(device, self.rows, words)
        self.products = torch.empty(self.rows, words, dtype=options.product, device=device)
        self.exact = torch.empty(self.piece, words, dtype=options.softmax, device=device)
        self.soft = torch.empty(self.piece, distill_target.words, dtype=options.softmax, device=device)
        self.teacher = None
        if of_teacher is not None and isinstance(distill_target.teacher, TeacherHidden):
            of_teacher = replace(of_teacher, softmax=options.softmax, tile=options.tile)
            self.teacher = _Teacher(distill_target.teacher, of_teacher, self.piece)

    def run(self) -> None:
        count = self.hidden.shape[0]
        for start in range(0, count, max(1, self.rows)):
            end = min(start + self.rows, count)
            products = self._products(slice(start, end))
            for first in range(start, end, self.piece):
                last = min(first + self.piece, end)
                self._piece(products[first - start : last - start], slice(first, last), start)
            self._pass_on(products, slice(start, end))

    def _products(self, tile: slice) -> torch.Tensor:
        if self.teacher is not None:
            self.teacher.multiply(tile)
        products = self.products[: tile.stop - tile.start]
        if self.weight is None:
            return products.copy_(self.hidden[tile])
        return torch.mm(self.hidden[tile], self.weight.T, out=products)

    def _pass_on(self, slope: torch.Tensor, tile: slice) -> None:
        """Gradients of hidden states and weight from those of a tile's products."""
        if self.of_hidden is not None and self.weight is None:
            self.of_hidden[tile] = slope
        elif self.of_hidden is not None and self.weight is not None:
            torch.mm(slope, self.weight, out=self.of_hidden[tile])
        if self.of_weight is not None:
            add_product(self.of_weight, slope.T, self.hidden[tile])

    def loss(self) -> torch.Tensor:
        """Both parts, in the softmax's type."""
        distill_target = self.distill_target
        taught = self.divergence if distill_target.weights is None else self.divergence * distill_target.weights
        loss = distill_target.share * distill_target.temperature**2 * taught.sum()
        return loss if distill_target.alone else loss - (1 - distill_target.share) * self.logprobs.sum()

    def gradients(self) -> list[torch.Tensor | None]:
        sums = (self.of_hidden, self.of_weight, self.of_bias)
        return [None if one is None else one.to(kind) for one, kind in zip(sums, self.types, strict=True)]

    def _piece(self, products: torch.Tensor, where: slice, start: int) -> None:
        """Statistics of a piece's products, over which its gradient is written."""
        distill_target, head = self.distill_target, self.head.logits
        logits, bent = exact(products, self.bias, head, self.exact)
        soft = torch.div(
            logits[:, : distill_target.words], distill_target.temperature, out=self.soft[: logits.shape[0]]
        )
        slope = self._task(logits, where)
        self._taught(soft, where, start)
        if not self.any_wanted:
            return
        if distill_target.weights is not None:
            soft *= distill_target.weights[where, None].to(soft.dtype)
        # Of T² times the divergence of logits that were divided by T.
        slope[:, : distill_target.words].add_(soft, alpha=distill_target.share * distill_target.temperature)
        if bent is not None:
            slope *= bent
        if head.scale != 1.0:
            slope *= head.scale
        if self.of_bias is not None:
            self.of_bias += slope.sum(0)
        products.copy_(slope)

    def _task(self, logits: torch.Tensor, where: slice) -> torch.Tensor:
        """The gradient of the task's share, in the memory of the logits."""
        if self.distill_target.alone:
            return logits.zero_()
        labels = self.labels[where, None]
        of_label, largest = logits.gather(1, labels)[:, 0], logits.amax(-1)
        shares = torch.softmax(logits, dim=-1, out=logits) if logits.device.type == "cpu" else logits.softmax(-1)
        self.logprobs[where] = of_label - (largest - shares.amax(-1).log_())
        self.correct[where] = of_label >= largest
        if self.any_wanted:
            shares.scatter_add_(1, labels, torch.full_like(labels, -1, dtype=shares.dtype)).mul_(
                1 - self.distill_target.share
            )
        return shares

    def _taught(self, soft: torch.Tensor, where: slice, start: int) -> None:
        """The divergence of a piece, whose gradient is written over `soft`."""
        distill_target, said = self.distill_target, self.distill_target.teacher
        if self.teacher is not None:
            rows = slice(where.start - start, where.stop - start)
            teacher = self.teacher.piece(rows, distill_target.temperature, distill_target.words)
            self.divergence[where] = DIVERGENCES[distill_target.divergence](soft, teacher)
        elif isinstance(said, TopKLogprobs):
            kept = (said.logprobs[where].to(soft.dtype), said.rest[where].to(soft.dtype))
            self.divergence[where] = topk_divergence(distill_target.divergence, soft, said.ids[where], *kept)


def _zeros(like: torch.Tensor | None, options: Options) -> torch.Tensor | None:
    return None if like is None else torch.zeros_like(like, dtype=options.softmax)
