"""Attention over segments on a CPU: plain matrix products on blocks small enough to stay in its cache.

torch's fused CPU kernel takes half of a small model's step, most of it in backward. Here each block of queries is multiplied with exactly
the keys that are visible to it: neighbouring short segments share a block behind a mask, a long segment is cut into several. Backward
recomputes a block's scores, unless a layer's attention probabilities are few enough to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from autotrain_llm.planning.memory_model import BLOCK_SCORES, FEWEST_QUERIES, KEPT_PROBABILITIES
from autotrain_llm.run.engine.flat.batch import Offsets, Segments

# Short segments share a block up to this many tokens: a masked product of 64 x 64 costs less than several small ones.
SHARED_TOKENS = 64


@dataclass(frozen=True)
class Block:
    """Queries `first:last` of the stream and keys `low:high` in the keys' order. `masked` marks the pairs that attend to nothing, among
    the last queries and keys. A query's keys all lie in its block."""

    first: int
    last: int
    low: int
    high: int
    masked: torch.Tensor
    masks: dict[Any, torch.Tensor] = field(default_factory=dict)

    def mask(self, groups: int, dtype: torch.dtype) -> torch.Tensor:
        """The additive mask of the last columns of the scores, a row for each query of the `groups` heads that share keys. Made once for all
        layers."""
        if (groups, dtype) not in self.masks:
            added = torch.zeros(self.masked.shape, dtype=dtype).masked_fill_(self.masked, float("-inf"))
            self.masks[groups, dtype] = added.repeat_interleave(groups, dim=0)
        return self.masks[groups, dtype]


def blocked_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Shapes as in `attention.flat_attention`; where segments continue others, keys and values come gathered lineage by lineage."""
    blocks = blocks_for(segments, window, query.shape[1])
    return _BlockAttention.apply(query, key, value, blocks, scaling, softcap, segments.cache)


# The same as one operation on tensors, for compiled layers: a graph with it holds for the lengths of every batch.


@torch.library.custom_op("autotrain_llm::segment_attention", mutates_args=(), device_types="cpu")
def segment_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    offsets: torch.Tensor,
    parents: torch.Tensor,
    scaling: float,
    window: int,
    softcap: float,
) -> torch.Tensor:
    """Attention of a stream whose segments are given by `Offsets.queries` and `Offsets.parents`; no window and no softcap are 0. Shapes as in
    `attention.flat_attention`."""
    segments = _segments_of(offsets, parents)
    key, value = by_lineage(key, value, segments.offsets)
    inside = _Inside.of(query, key, value, scaling)
    with torch.autocast("cpu", enabled=False):
        output = attend(inside, _narrow_blocks(segments, window, query), softcap or None, segments.cache)
    return output.contiguous()  # what a graph is promised


@torch.library.custom_op("autotrain_llm::segment_attention_backward", mutates_args=(), device_types="cpu")
def segment_attention_backward(
    upstream: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    offsets: torch.Tensor,
    parents: torch.Tensor,
    scaling: float,
    window: int,
    softcap: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    segments = _segments_of(offsets, parents)
    inside = _Inside.of(query, *by_lineage(key, value, segments.offsets), scaling)
    blocks = _narrow_blocks(segments, window, query)
    with torch.autocast("cpu", enabled=False):
        query_grad, key_grad, value_grad = attend_backward(
            upstream, inside, blocks, softcap or None, segments.cache, []
        )
    key_grad, value_grad = _in_stream(key_grad, key, segments), _in_stream(value_grad, value, segments)
    return query_grad.contiguous(), key_grad.contiguous(), value_grad.contiguous()


@segment_attention.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *settings: Any) -> torch.Tensor:
    return value.new_empty(1, query.shape[2], query.shape[1], value.shape[3])


@segment_attention_backward.register_fake
def _(
    upstream: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *settings: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def _gradients(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    gradients = segment_attention_backward(upstream, *ctx.saved_tensors, *ctx.settings)
    return *gradients, None, None, None, None, None


segment_attention.register_autograd(_gradients, setup_context=_keep_inputs)


def _segments_of(offsets: torch.Tensor, parents: torch.Tensor) -> Segments:
    lengths = offsets.diff().tolist()
    return _known_segments(tuple(lengths), tuple(parents[1:].tolist()))


@lru_cache(maxsize=2)
def _known_segments(lengths: tuple[int, ...], parents: tuple[int, ...]) -> Segments:
    """The segments of the batch that is computed, with what all layers share; and of one before it."""
    return Segments(lengths, parents)


def by_lineage(key: torch.Tensor, value: torch.Tensor, offsets: Offsets) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values in which each segment's lineage is contiguous: kernels align the causal mask at its end."""
    if offsets.order is None:
        return key, value
    return key.index_select(2, offsets.order), value.index_select(2, offsets.order)


def _in_stream(gradient: torch.Tensor, tensor: torch.Tensor, segments: Segments) -> torch.Tensor:
    """The gradient of a tensor from that of what `by_lineage` made of it."""
    order = segments.offsets.order
    return gradient if order is None else tensor.new_zeros(tensor.shape).index_add_(2, order, gradient)


def _narrow_blocks(segments: Segments, window: int, query: torch.Tensor) -> list[Block]:
    """The blocks with the window, if any segment is longer than that."""
    return blocks_for(segments, window if 0 < window < segments.offsets.longest_keys else None, query.shape[1])


def blocks_for(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """The blocks of a batch, made once and shared by all layers with the same window."""
    cache_key = ("blocks", window, heads)
    if cache_key not in segments.cache:
        segments.cache[cache_key] = (
            _cut_long(segments, window, heads) if segments.chained else _pack(segments, window, heads)
        )
    return segments.cache[cache_key]


def _pack(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """Adjacent short segments share a block; long ones are divided into several."""
    blocks: list[Block] = []
    group: list[int] = []
    start = 0
    for length in (*segments.lengths, SHARED_TOKENS + 1):
        if group and sum(group) + length > SHARED_TOKENS:
            end = start + sum(group)
            if len(group) == 1:
                blocks += _cut(start, start, 0, group[0], window, heads)
            else:
                visible = torch.block_diag(*[_visible(0, size, 0, size, window) for size in group])
                blocks.append(Block(start, end, start, end, ~visible.bool()))
            start, group = end, []
        group.append(length)
    return blocks


def _cut_long(segments: Segments, window: int | None, heads: int) -> list[Block]:
    """Segments that continue others: each has its ancestors' keys before its own."""
    blocks: list[Block] = []
    start = line_start = 0
    for index, length in enumerate(segments.lengths):
        depth = segments.depth(index)
        blocks += _cut(start, line_start, depth, length, window, heads)
        start += length
        line_start += depth + length
    return blocks


def _cut(start: int, line_start: int, depth: int, length: int, window: int | None, heads: int) -> list[Block]:
    """A segment whose queries begin at `start`, whose lineage's keys begin at `line_start`, as blocks of bounded size."""
    blocks = []
    done = 0
    while done < length:
        low = 0 if window is None else max(0, depth + done - window + 1)
        rows = _rows(length - done, depth + done - low, heads)
        high = depth + done + rows
        visible = _visible(depth + done, high, low if window is not None else depth + done, high, window)
        blocks.append(Block(start + done, start + done + rows, line_start + low, line_start + high, ~visible))
        done += rows
    return blocks


def _rows(left: int, before: int, heads: int) -> int:
    """The queries of a block whose scores stay within BLOCK_SCORES."""
    rows = left
    while rows > FEWEST_QUERIES and rows * (before + rows) * heads > BLOCK_SCORES:
        rows = (rows + 1) // 2
    return rows


def _visible(first: int, last: int, low: int, high: int, window: int | None) -> torch.Tensor:
    """Which of the keys `low:high` the queries `first:last` may see, both counted as positions in the lineage."""
    behind = torch.arange(first, last)[:, None] - torch.arange(low, high)
    return behind >= 0 if window is None else (behind >= 0) & (behind < window)


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: list[Block],
        scaling: float,
        softcap: float | None,
        buffers: dict[Any, Any],
    ) -> torch.Tensor:
        inside = _Inside.of(query, key, value, scaling)
        # With gradient checkpointing a layer runs twice and has to decide the same both times: the decision depends on its own inputs alone.
        small = _prob_bytes(blocks, inside.queries) <= KEPT_PROBABILITIES
        kept_probs: list[torch.Tensor] | None = [] if any(ctx.needs_input_grad) and softcap is None and small else None
        output = attend(inside, blocks, softcap, buffers, kept_probs)
        ctx.save_for_backward(inside.queries, inside.keys, inside.values, *(kept_probs or ()))
        ctx.rest = blocks, scaling, softcap, buffers
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, *kept_probs = ctx.saved_tensors
        blocks, scaling, softcap, buffers = ctx.rest
        gradients = attend_backward(
            upstream, _Inside(queries, keys, values, scaling), blocks, softcap, buffers, kept_probs
        )
        return *gradients, None, None, None, None


@dataclass(frozen=True)
class _Inside:
    """Inside, tensors are (key heads, tokens, queries per key head, size), so that the queries of a block are one matrix. The queries are
    multiplied by `scaling` already."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scaling: float

    @classmethod
    def of(cls, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> _Inside:
        groups = query.shape[1] // key.shape[1]
        return cls(_by_key_head(query * scaling, groups), key[0].contiguous(), value[0].contiguous(), scaling)


def attend(
    inside: _Inside,
    blocks: list[Block],
    softcap: float | None,
    buffers: dict[Any, Any],
    kept_probs: list[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Attention, (1, T, heads, size), without a gradient. The probabilities of each block are added to `kept_probs`."""
    queries, keys, values = inside.queries, inside.keys, inside.values
    key_heads, length, groups = queries.shape[:3]
    output = torch.empty(*queries.shape[:3], values.shape[-1], dtype=values.dtype)
    workspace = _Workspace(queries, keys, softcap, buffers)
    for block in blocks:
        scores, _ = workspace.scores(block)
        probs = torch.softmax(scores, -1, out=scores if kept_probs is None else torch.empty_like(scores))
        if kept_probs is not None:
            kept_probs.append(probs)
        result = torch.bmm(workspace.in_product_dtype(probs), values[:, block.low : block.high])
        output[:, block.first : block.last] = result.view(-1, block.last - block.first, groups, result.shape[-1])
    return output.permute(1, 0, 2, 3).reshape(1, length, key_heads * groups, -1)


def attend_backward(
    upstream: torch.Tensor,
    inside: _Inside,
    blocks: list[Block],
    softcap: float | None,
    buffers: dict[Any, Any],
    kept_probs: list[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value, from that of `attend`. Without kept probabilities they are computed again."""
    queries, keys, values = inside.queries, inside.keys, inside.values
    key_heads, length, groups = queries.shape[:3]
    score_dtype = _score_dtype(queries.dtype)
    output_grads = _by_key_head(upstream.transpose(1, 2), groups).to(values.dtype)
    query_grad = torch.empty_like(queries)
    key_grad = torch.zeros_like(keys, dtype=score_dtype)
    value_grad = torch.zeros_like(values, dtype=score_dtype)
    workspace = _Workspace(queries, keys, softcap, buffers)
    for index, block in enumerate(blocks):
        query_rows, visible = slice(block.first, block.last), slice(block.low, block.high)
        if kept_probs:
            probs, softcap_slope = kept_probs[index], None
        else:
            scores, softcap_slope = workspace.scores(block)
            probs = torch.softmax(scores, -1, out=scores)
        upstream_rows = _rows_of(output_grads, query_rows)
        value_grad[:, visible] += torch.bmm(workspace.in_product_dtype(probs).transpose(1, 2), upstream_rows)
        prob_grads = workspace.product("prob_grads", upstream_rows, values[:, visible].transpose(1, 2))
        score_grads = workspace.in_product_dtype(workspace.softmax_backward(prob_grads, probs, softcap_slope))
        query_grad[:, query_rows] = torch.bmm(score_grads, keys[:, visible]).view(query_grad[:, query_rows].shape)
        key_grad[:, visible] += torch.bmm(score_grads.transpose(1, 2), _rows_of(queries, query_rows))
    query_grad = query_grad.permute(0, 2, 1, 3).reshape(1, key_heads * groups, length, -1).mul_(inside.scaling)
    return query_grad, key_grad.to(keys.dtype)[None], value_grad.to(values.dtype)[None]


def _prob_bytes(blocks: list[Block], queries: torch.Tensor) -> int:
    """Bytes of a layer's attention probabilities, of all queries in all blocks."""
    pairs = sum((block.last - block.first) * (block.high - block.low) for block in blocks)
    return queries.shape[0] * queries.shape[2] * pairs * queries.element_size()


def _score_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which gradients of keys and values are summed: float32, or float64."""
    return torch.promote_types(dtype, torch.float32)


def _by_key_head(tensor: torch.Tensor, groups: int) -> torch.Tensor:
    """(1, heads, T, size) to (key heads, T, queries per key head, size)."""
    return tensor[0].unflatten(0, (-1, groups)).transpose(1, 2).contiguous()


def _rows_of(tensor: torch.Tensor, rows: slice) -> torch.Tensor:
    """The queries of a block, of all that share a key head, as the rows of one matrix per key head."""
    return tensor[:, rows].flatten(1, 2)


class _Workspace:
    """The large intermediate results of a block, in buffers that all blocks and layers of a batch share."""

    def __init__(
        self, queries: torch.Tensor, keys: torch.Tensor, softcap: float | None, buffers: dict[Any, Any]
    ) -> None:
        self.queries, self.keys, self.softcap, self.buffers = queries, keys, softcap, buffers
        self.groups = queries.shape[2]
        # Scores come out of the product in its own dtype, and softmax computes in float32 inside: only a softcap needs a finer one.
        self.dtype = queries.dtype if softcap is None else _score_dtype(queries.dtype)

    def scores(self, block: Block) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The masked scores of a block, and where they are softcapped the slope of that."""
        query_rows = _rows_of(self.queries, slice(block.first, block.last))
        scores = self.product("scores", query_rows, self.keys[:, block.low : block.high].transpose(1, 2))
        softcap_slope = None
        if self.softcap is not None:
            tanh = scores.div_(self.softcap).tanh_()
            softcap_slope = 1 - tanh * tanh
            scores = tanh.mul_(self.softcap)
        mask = block.mask(self.groups, self.dtype)
        scores[..., -mask.shape[1] :].add_(mask)
        return scores, softcap_slope

    def softmax_backward(
        self, prob_grads: torch.Tensor, probs: torch.Tensor, softcap_slope: torch.Tensor | None
    ) -> torch.Tensor:
        """The gradient with respect to the scores, from that with respect to the probabilities."""
        score_grads = self._buffer("score_grads", probs.shape, self.dtype)
        torch.ops.aten._softmax_backward_data.out(prob_grads, probs, -1, self.dtype, grad_input=score_grads)
        return score_grads if softcap_slope is None else score_grads.mul_(softcap_slope)

    def product(self, name: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`left @ right` in the dtype of the scores."""
        shape = (left.shape[0], left.shape[1], right.shape[2])
        if left.dtype == self.dtype:
            return torch.bmm(left, right, out=self._buffer(name, shape, self.dtype))
        rounded = torch.bmm(left, right, out=self._buffer("product", shape, left.dtype))
        return self._buffer(name, shape, self.dtype).copy_(rounded)

    def in_product_dtype(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` in the dtype of the matrix products."""
        if tensor.dtype == self.queries.dtype:
            return tensor
        return self._buffer("product_dtype", tensor.shape, self.queries.dtype).copy_(tensor)

    def _buffer(self, name: str, shape: tuple[int, ...] | torch.Size, dtype: torch.dtype) -> torch.Tensor:
        size = shape[0] * shape[1] * shape[2]
        buffer = self.buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = self.buffers[name, dtype] = torch.empty(max(size, BLOCK_SCORES), dtype=dtype)
        return buffer[:size].view(*shape)
