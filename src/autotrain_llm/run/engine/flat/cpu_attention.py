"""Attention over segments on a processor: plain matrix products on blocks small enough to stay in its cache.

torch's fused kernel for processors spends half of a small model's step, most of it backward. Here each block of queries
meets exactly the keys that it may see: neighbouring short segments share a block behind a mask, a long segment is cut
into several. Backward computes the scores of a block again, unless a layer's shares are few enough to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autotrain_llm.planning.memory_model import BLOCK_SCORES, FEWEST_QUERIES, KEPT_PROBABILITIES
from autotrain_llm.run.engine.flat.batch import Segments

# Short segments share a block up to this many tokens.
SHARED_TOKENS = 64


@dataclass(frozen=True)
class Block:
    """Queries `first:last` of the stream and keys `low:high` of the keys' order; `unseen` are pairs among the last of both.

    Each query's keys are all in its block.
    """

    first: int
    last: int
    low: int
    high: int
    unseen: torch.Tensor
    masks: dict[Any, torch.Tensor] = field(default_factory=dict)

    def mask(self, groups: int, kind: torch.dtype) -> torch.Tensor:
        """What is added to the last columns of the scores, a row for each query of the `groups` heads that share keys: made once for all layers."""
        if (groups, kind) not in self.masks:
            added = torch.zeros(self.unseen.shape, dtype=kind).masked_fill_(self.unseen, float("-inf"))
            self.masks[groups, kind] = added.repeat_interleave(groups, dim=0)
        return self.masks[groups, kind]


def blocked_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Shapes as in `attention.flat_attention`; where segments continue others, keys and values come gathered line by line."""
    blocks = blocks_of(segments, window, query.shape[1])
    return _BlockAttention.apply(query, key, value, blocks, scaling, softcap, segments.built)


def blocks_of(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """The blocks of a batch, made once and shared by all layers with the same window."""
    known = ("blocks", window, heads)
    if known not in segments.built:
        segments.built[known] = (
            _cut_long(segments, window, heads) if segments.chained else _pack(segments, window, heads)
        )
    return segments.built[known]


def _pack(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """Neighbours that fit together share a block, the others are cut."""
    blocks: list[Block] = []
    together: list[int] = []
    start = 0
    for length in (*segments.lengths, SHARED_TOKENS + 1):
        if together and sum(together) + length > SHARED_TOKENS:
            end = start + sum(together)
            if len(together) == 1:
                blocks += _cut(start, start, 0, together[0], window, heads)
            else:
                seen = torch.block_diag(*[_seen(0, one, 0, one, window) for one in together])
                blocks.append(Block(start, end, start, end, ~seen.bool()))
            start, together = end, []
        together.append(length)
    return blocks


def _cut_long(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """Segments that continue others: each has its line's keys before its own."""
    blocks: list[Block] = []
    start = line_start = 0
    for number, length in enumerate(segments.lengths):
        depth = segments.depth(number)
        blocks += _cut(start, line_start, depth, length, window, heads)
        start += length
        line_start += depth + length
    return blocks


def _cut(start: int, line_start: int, depth: int, length: int, window: int | None, heads: int) -> list[Block]:
    """A segment whose queries begin at `start`, whose line's keys begin at `line_start`, as blocks of bounded size."""
    blocks = []
    done = 0
    while done < length:
        low = 0 if window is None else max(0, depth + done - window + 1)
        rows = _rows(length - done, depth + done - low, heads)
        high = depth + done + rows
        seen = _seen(depth + done, high, low if window is not None else depth + done, high, window)
        blocks.append(Block(start + done, start + done + rows, line_start + low, line_start + high, ~seen))
        done += rows
    return blocks


def _rows(left: int, before: int, heads: int) -> int:
    """How many queries a block takes so that it and the keys up to its end stay within the bound."""
    rows = left
    while rows > FEWEST_QUERIES and rows * (before + rows) * heads > BLOCK_SCORES:
        rows = (rows + 1) // 2
    return rows


def _seen(first: int, last: int, low: int, high: int, window: int | None) -> torch.Tensor:
    """Which of the keys `low:high` the queries `first:last` may see, both counted as positions in the line."""
    behind = torch.arange(first, last)[:, None] - torch.arange(low, high)
    return behind >= 0 if window is None else (behind >= 0) & (behind < window)


class _BlockAttention(torch.autograd.Function):
    """Inside, tensors are (key heads, tokens, queries per key head, size), so that the queries of a block are one matrix."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: list[Block],
        scaling: float,
        softcap: float | None,
        scratch: dict[Any, Any],
    ) -> torch.Tensor:
        groups = query.shape[1] // key.shape[1]
        queries = _by_key_head(query * scaling, groups)
        keys, values = key[0].contiguous(), value[0].contiguous()
        output = torch.empty(*queries.shape[:3], values.shape[-1], dtype=value.dtype)
        work = _Workspace(queries, keys, softcap, scratch)
        # A layer that is computed twice has to decide the same both times: it looks at nothing but its own.
        keep = any(ctx.needs_input_grad) and softcap is None and _bytes_of_shares(blocks, queries) <= KEPT_PROBABILITIES
        kept = []
        for block in blocks:
            scores, _ = work.scores(block)
            shares = torch.softmax(scores, -1, out=torch.empty_like(scores) if keep else scores)
            if keep:
                kept.append(shares)
            result = torch.bmm(work.rounded(shares), values[:, block.low : block.high])
            output[:, block.first : block.last] = result.view(-1, block.last - block.first, groups, result.shape[-1])
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.rest = blocks, scaling, softcap, scratch, groups
        return output.permute(1, 0, 2, 3).reshape(1, query.shape[2], query.shape[1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        blocks, scaling, softcap, scratch, groups = ctx.rest
        exact = _exact(queries.dtype)
        incoming = _by_key_head(upstream.transpose(1, 2), groups).to(values.dtype)
        of_query = torch.empty_like(queries)
        of_key = torch.zeros_like(keys, dtype=exact)
        of_value = torch.zeros_like(values, dtype=exact)
        work = _Workspace(queries, keys, softcap, scratch)
        for number, block in enumerate(blocks):
            asking, seen = slice(block.first, block.last), slice(block.low, block.high)
            if kept:
                shares, slope = kept[number], None
            else:
                scores, slope = work.scores(block)
                shares = torch.softmax(scores, -1, out=scores)
            came = _rows_of(incoming, asking)
            of_value[:, seen] += torch.bmm(work.rounded(shares).transpose(1, 2), came)
            came_of_shares = work.product("came", came, values[:, seen].transpose(1, 2))
            change = work.rounded(work.through_softmax(came_of_shares, shares, slope))
            of_query[:, asking] = torch.bmm(change, keys[:, seen]).view(of_query[:, asking].shape)
            of_key[:, seen] += torch.bmm(change.transpose(1, 2), _rows_of(queries, asking))
        heads = queries.shape[0] * groups
        of_query = of_query.permute(0, 2, 1, 3).reshape(1, heads, queries.shape[1], -1).mul_(scaling)
        return of_query, of_key.to(keys.dtype)[None], of_value.to(values.dtype)[None], None, None, None, None


def _bytes_of_shares(blocks: list[Block], queries: torch.Tensor) -> int:
    """Those of a layer's shares, of all queries in all blocks."""
    pairs = sum((block.last - block.first) * (block.high - block.low) for block in blocks)
    return queries.shape[0] * queries.shape[2] * pairs * queries.element_size()


def _exact(kind: torch.dtype) -> torch.dtype:
    """The type in which scores are summed: float32, or what is finer."""
    return torch.promote_types(kind, torch.float32)


def _by_key_head(tensor: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, heads, T, size) to (key heads, T, queries per key head, size)."""
    return tensor[0].unflatten(0, (-1, groups)).transpose(1, 2).contiguous()


def _rows_of(tensor: torch.Tensor, where: slice) -> torch.Tensor:
    """The queries of a block, of all that share a key head, as the rows of one matrix per key head."""
    return tensor[:, where].flatten(1, 2)


class _Workspace:
    """The large intermediate results of a block, in memory that all blocks and layers of a batch share."""

    def __init__(
        self, queries: torch.Tensor, keys: torch.Tensor, softcap: float | None, scratch: dict[Any, Any]
    ) -> None:
        self.queries, self.keys, self.softcap, self.scratch = queries, keys, softcap, scratch
        self.groups = queries.shape[2]
        # Scores come out of a product in its own type, and softmax is exact inside: they need a finer one only where they are bent.
        self.kind = queries.dtype if softcap is None else _exact(queries.dtype)

    def scores(self, block: Block) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The masked scores of a block, and where they are softcapped the slope of that."""
        asking = _rows_of(self.queries, slice(block.first, block.last))
        scores = self.product("scores", asking, self.keys[:, block.low : block.high].transpose(1, 2))
        slope = None
        if self.softcap is not None:
            bent = scores.div_(self.softcap).tanh_()
            slope = 1 - bent * bent
            scores = bent.mul_(self.softcap)
        mask = block.mask(self.groups, self.kind)
        scores[..., -mask.shape[1] :].add_(mask)
        return scores, slope

    def through_softmax(self, came: torch.Tensor, shares: torch.Tensor, slope: torch.Tensor | None) -> torch.Tensor:
        """The gradient of the scores, from what came for the shares; `slope` is what bent the scores before."""
        change = self._space("change", shares.shape, self.kind)
        torch.ops.aten._softmax_backward_data.out(came, shares, -1, self.kind, grad_input=change)
        return change if slope is None else change.mul_(slope)

    def product(self, name: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`left @ right` in the type of the scores."""
        shape = (left.shape[0], left.shape[1], right.shape[2])
        if left.dtype == self.kind:
            return torch.bmm(left, right, out=self._space(name, shape, self.kind))
        rounded = torch.bmm(left, right, out=self._space("product", shape, left.dtype))
        return self._space(name, shape, self.kind).copy_(rounded)

    def rounded(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` in the type of the matrix products."""
        if tensor.dtype == self.queries.dtype:
            return tensor
        return self._space("rounded", tensor.shape, self.queries.dtype).copy_(tensor)

    def _space(self, name: str, shape: tuple[int, ...] | torch.Size, kind: torch.dtype) -> torch.Tensor:
        size = shape[0] * shape[1] * shape[2]
        held = self.scratch.get((name, kind))
        if held is None or held.numel() < size:
            held = self.scratch[name, kind] = torch.empty(max(size, BLOCK_SCORES), dtype=kind)
        return held[:size].view(*shape)
