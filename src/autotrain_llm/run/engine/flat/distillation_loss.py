"""The distillation loss, tile by tile over tokens: the task's cross entropy mixed with the divergence from a teacher.

The teacher's distribution comes from its hidden states and its head, in the same tiles (online), or from its top-k log-probabilities,
which were cached before training. Hinton et al. 2015, arXiv:1503.02531, for the mixture and the factor T².
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from autotrain_llm.run.engine.flat.divergences import DIVERGENCES, topk_divergence
from autotrain_llm.run.engine.flat.tiled_head import (
    Head,
    LabelTarget,
    LogitTiles,
    TileOptions,
    fused_loss,
    label_logprobs,
    weighted,
)


@dataclass(frozen=True)
class TeacherHidden:
    """An online teacher: its hidden states at the targets (tokens, H) and its head."""

    hidden: torch.Tensor
    head: Head


@dataclass(frozen=True)
class TopKLogprobs:
    """A cached teacher: its k likeliest token ids (tokens, k), their log-probabilities at the temperature, and the log-probability of all
    other tokens together (tokens,)."""

    ids: torch.Tensor
    logprobs: torch.Tensor
    rest: torch.Tensor


@dataclass(frozen=True)
class DistillTarget:
    """A teacher's outputs for a batch, and the settings of the loss.

    The loss is `(1 - alpha)` times the task's plus `alpha` times the divergence. The divergence is summed over the targets at `positions`
    (None: all) with `weights` (None: 1), over the first `vocab_size` tokens of both vocabularies at the `temperature`. With `teacher_only`
    the loss is the divergence term alone, and the labels' log-probabilities are differentiable, for the task's own loss.
    """

    teacher: TeacherHidden | TopKLogprobs
    divergence: str
    temperature: float
    alpha: float
    vocab_size: int
    positions: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    teacher_only: bool = False


@dataclass
class DistillOutput:
    """`loss` is a differentiable sum; `logprobs` and `correct` are of the labels (K,); `divergence` (tokens,) has no gradient."""

    loss: torch.Tensor
    logprobs: torch.Tensor
    correct: torch.Tensor
    divergence: torch.Tensor


def distillation_loss(
    hidden: torch.Tensor,
    head: Head,
    labels: torch.Tensor,
    target: DistillTarget,
    *,
    label_weights: torch.Tensor | None = None,
    tile: int | None = None,
) -> DistillOutput:
    """`(1 - α) Σ -log q(label) + α T² Σ weight · divergence`, in nats, of K hidden states (K, H) and labels (K,).

    `label_weights` (K,) multiply the terms of the labels, and not the divergence.
    """
    if target.teacher_only:
        logprobs, correct = label_logprobs(hidden, head, labels, tile)
        if target.positions is not None:
            hidden = hidden.index_select(0, target.positions)
    options = TileOptions.of(hidden, head, tile, with_teacher=True)
    tiled = _DistillationTarget(hidden, labels, target, options, label_weights)
    loss = fused_loss(hidden, head, tiled, options)
    if tiled.task is not None:
        logprobs, correct = tiled.task.logprobs, tiled.task.correct
    return DistillOutput(loss, logprobs, correct, tiled.divergence)


@torch.no_grad()
def topk_logprobs(teacher: TeacherHidden, count: int, temperature: float, *, tile: int | None = None) -> TopKLogprobs:
    """The `count` likeliest tokens at each of a teacher's positions, tile by tile."""
    options = TileOptions.of(teacher.hidden, teacher.head, tile, with_teacher=True)
    count = min(count, teacher.head.vocab_size(teacher.hidden))
    empty = torch.empty(0, count, dtype=options.softmax, device=teacher.hidden.device)
    parts = [(empty.long(), empty, empty.sum(-1))]
    with torch.autocast(teacher.hidden.device.type, enabled=False):
        tiles = LogitTiles(teacher.hidden, _at_temperature(teacher.head, temperature), options)
        for tile_rows in tiles.tiles():
            products = tiles.multiply(tile_rows)
            for rows in tiles.pieces(tile_rows):
                logits, _ = tiles.logits(products[rows.start - tile_rows.start : rows.stop - tile_rows.start])
                logsumexp = torch.logsumexp(logits, -1, keepdim=True)
                best = torch.topk(logits, count, dim=-1)
                rest = torch.logsumexp(logits.scatter(1, best.indices, -torch.inf), -1)
                parts.append((best.indices, best.values - logsumexp, rest - logsumexp[:, 0]))
    return TopKLogprobs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _at_temperature(head: Head, temperature: float) -> Head:
    return replace(head, transform=replace(head.transform, temperature=temperature))


class _DistillationTarget:
    """The target of a tiled pass: labels and a teacher, or a teacher alone."""

    @torch.no_grad()
    def __init__(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor,
        target: DistillTarget,
        options: TileOptions,
        label_weights: torch.Tensor | None,
    ) -> None:
        self.target = target
        self.task = None if target.teacher_only else LabelTarget(labels, options.softmax, weights=label_weights)
        count, teacher = hidden.shape[0], target.teacher
        self.divergence = hidden.new_zeros(count, dtype=options.softmax)
        self.soft = hidden.new_empty(min(options.piece, count), target.vocab_size, dtype=options.softmax)
        self.teacher = None
        if isinstance(teacher, TeacherHidden):
            product = TileOptions.of(teacher.hidden, teacher.head).product
            head = _at_temperature(teacher.head, target.temperature)
            self.teacher = LogitTiles(teacher.hidden, head, replace(options, product=product))

    def begin_tile(self, tile: slice) -> None:
        self.start = tile.start
        if self.teacher is not None:
            self.teacher_products = self.teacher.multiply(tile)

    def apply(self, logits: torch.Tensor, rows: slice, with_gradient: bool) -> torch.Tensor | None:
        target = self.target
        soft = torch.div(logits[:, : target.vocab_size], target.temperature, out=self.soft[: logits.shape[0]])
        gradient = logits.zero_() if self.task is None else self.task.apply(logits, rows, with_gradient)
        self.divergence[rows] = self._divergence(soft, rows)
        if not with_gradient or gradient is None:
            return None
        if self.task is not None:
            gradient *= 1 - target.alpha
        if target.weights is not None:
            soft *= target.weights[rows, None].to(soft.dtype)
        # T² times the gradient with respect to logits that were divided by T.
        gradient[:, : target.vocab_size].add_(soft, alpha=target.alpha * target.temperature)
        return gradient

    def _divergence(self, soft: torch.Tensor, rows: slice) -> torch.Tensor:
        """The divergence of each row, whose gradient is written over the student's logits `soft`."""
        target = self.target
        if isinstance(target.teacher, TopKLogprobs):
            teacher = target.teacher
            logprobs, rest = teacher.logprobs[rows].to(soft.dtype), teacher.rest[rows].to(soft.dtype)
            return topk_divergence(target.divergence, soft, teacher.ids[rows], logprobs, rest)
        assert self.teacher is not None
        logits, _ = self.teacher.logits(self.teacher_products[rows.start - self.start : rows.stop - self.start])
        return DIVERGENCES[target.divergence](soft, logits[:, : target.vocab_size])

    def loss(self) -> torch.Tensor:
        """The sum of both terms, in the softmax's dtype."""
        target = self.target
        loss = target.alpha * target.temperature**2 * weighted(self.divergence, target.weights).sum()
        return loss if self.task is None else loss + (1 - target.alpha) * self.task.loss()
