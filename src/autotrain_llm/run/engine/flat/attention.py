"""Causal attention that stays inside the segments of one stream, registered with transformers' public attention interface.

The function is called once per layer with queries, keys and values of the whole stream; the segments are a keyword argument of the
model's call. Sliding window, softcap, scaling, dropout and grouped-query heads are supported; anything else raises an error.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

from autotrain_llm.planning.memory_model import SHORT_SPAN
from autotrain_llm.run.engine.flat import cpu_attention as blocks
from autotrain_llm.run.engine.flat.batch import Offsets, Segments

NAME = "autotrain_flat"

# The implementations, by preference.
FLASH = "flash_attn variable length"
VARLEN = "torch variable length"
FLEX = "flex attention"
BLOCKS = "blocks of matrix products"
SDPA = "scaled dot product per segment"

HALF = (torch.float16, torch.bfloat16)


def _torch_kernel() -> tuple[Any, frozenset[str]]:
    """torch's own kernel and its parameters, where it takes a window: earlier versions have `is_causal` alone."""
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return None, frozenset()
    function = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    named = frozenset(inspect.signature(function).parameters)
    return (function, named) if "window_size" in named else (None, named)


VARLEN_FUNCTION, VARLEN_OPTIONS = _torch_kernel()  # looked up here, because compiled layers can't


def register() -> str:
    """Make the name known to transformers; returns the name.

    It has no mask: the segments replace it. A name without one keeps transformers (5.23) from looking for packed rows in `position_ids`, for
    which a GPU's results would be waited for before the first layer.
    """
    AttentionInterface.register(NAME, flat_attention)
    return NAME


def backend(device: str, dtype: torch.dtype, *, softcap: bool = False, dropout: bool = False) -> str:
    """The implementation for this kind of device and dtype, among the packages that are installed."""
    # In float32 torch's own CPU kernel is as fast as the blocks on rows of 256 tokens, and faster on shorter ones.
    if device == "cpu" and not dropout and (softcap or dtype != torch.float32):
        return BLOCKS
    if device != "cuda":
        return SDPA
    if dtype in HALF and _flash_function() is not None:
        return FLASH
    # torch's own kernel has no softcap, and FlexAttention's backward fails with a softcap (torch 2.11, on an H200).
    if dropout or softcap:
        return SDPA
    if dtype in HALF and VARLEN_FUNCTION is not None:
        return VARLEN
    return FLEX


@dataclass(frozen=True)
class AttentionArgs:
    """A layer's arguments besides queries, keys and values. `window` is None if no segment is longer than it."""

    segments: Segments
    scaling: float
    dropout: float = 0.0
    window: int | None = None
    softcap: float | None = None


def flat_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a stream; `query` is (1, heads, T, size), the result (1, T, heads, size).

    Where processes divide the stream, each has its own part of the T tokens.
    """
    if segments is None:
        raise ValueError("attention over segments was called without segments: switch the model back to its own first")
    if s_aux is not None or position_bias is not None or attention_mask is not None:
        raise ValueError("attention over segments supports no sinks, no position bias and no mask")
    query, key, value = _same_dtype(query, key, value)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if torch.compiler.is_compiling():
        if dropout:
            raise ValueError("attention over segments has no dropout in compiled layers")
        return _opaque(query, key, value, segments, scaling, sliding_window, softcap), None
    if segments.divided:
        query, key, value = (segments.divided.all_tokens(tensor) for tensor in (query, key, value))
    if query.shape[0] != 1 or query.shape[2] != sum(segments.lengths):
        raise ValueError(f"a stream of {sum(segments.lengths)} tokens, but queries of shape {tuple(query.shape)}")
    window = sliding_window if sliding_window is not None and sliding_window < segments.offsets.longest_keys else None
    chosen = backend(query.device.type, query.dtype, softcap=softcap is not None, dropout=dropout > 0)
    compute = {FLASH: _flash, VARLEN: _varlen, FLEX: _flex, BLOCKS: _blocks, SDPA: _sdpa_per_segment}[chosen]
    output = compute(query, key, value, AttentionArgs(segments, scaling, dropout, window, softcap))
    return segments.divided.all_heads(output) if segments.divided else output, None


def _same_dtype(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rotary embeddings leave queries and keys in float32 under autocast, where values are in half precision."""
    device = tensors[0].device.type
    if torch.is_autocast_enabled(device) and tensors[0].dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    else:
        dtype = tensors[-1].dtype
    return tuple(tensor.to(dtype) for tensor in tensors)


# In a compiled layer: one operation on tensors, that no graph depends on the lengths of.


def _opaque(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    offsets = segments.offsets
    if query.device.type == "cpu":
        return blocks.segment_attention(
            query, key, value, offsets.queries, offsets.parents, scaling, window or 0, softcap or 0.0
        )
    return _torch_varlen(query, key, value, offsets, scaling, window)


# One segment after the other: any device, any dtype, every option.


def _sdpa_per_segment(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, args: AttentionArgs) -> torch.Tensor:
    """One split and one concatenation, so that backward does not add up a whole stream of zeros per segment."""
    segments, softcapped = args.segments, args.softcap is not None
    lengths = list(segments.lengths)
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for index, own in enumerate(queries):
        lineage_indices = segments.lineage(index)
        visible = _concatenated(keys, lineage_indices), _concatenated(values, lineage_indices)
        mask = _mask(segments, index, args.window, softcapped, query.device)
        outputs.append((_softcapped_attention if softcapped else _scaled_dot_product)(own, *visible, mask, args))
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1)


def _concatenated(parts: tuple[torch.Tensor, ...], lineage_indices: list[int]) -> torch.Tensor:
    return (
        parts[lineage_indices[0]]
        if len(lineage_indices) == 1
        else torch.cat([parts[index] for index in lineage_indices], dim=2)
    )


def _mask(
    segments: Segments, index: int, window: int | None, always: bool, device: torch.device
) -> torch.Tensor | None:
    """Which tokens of its lineage a segment attends to, or None if that is plain causal attention."""
    length, depth = segments.lengths[index], segments.depth(index)
    span = depth + length
    narrow = window is not None and window < span
    if not (always or depth or narrow):
        return None
    cache_key = ("mask", length, depth, window if narrow else None, device)
    if cache_key not in segments.cache:
        behind = torch.arange(depth, span, device=device)[:, None] - torch.arange(span, device=device)
        visible = behind >= 0
        segments.cache[cache_key] = visible & (behind < window) if narrow and window is not None else visible
    return segments.cache[cache_key]


def _scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    args: AttentionArgs,
) -> torch.Tensor:
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=args.dropout,
        is_causal=mask is None,
        scale=args.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _softcapped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    args: AttentionArgs,
) -> torch.Tensor:
    if mask is None or args.softcap is None:
        raise ValueError("softcapped attention is computed with an explicit mask")
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) if groups > 1 else tensor for tensor in (key, value))
    scores = (query @ key.transpose(2, 3)).to(torch.promote_types(query.dtype, torch.float32))
    scores = torch.tanh(scores * (args.scaling / args.softcap)) * args.softcap
    probs = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(value.dtype)
    return functional.dropout(probs, args.dropout) @ value


# Blocks of the stream, on a CPU.


def _blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, args: AttentionArgs) -> torch.Tensor:
    if args.softcap is None and query.dtype in HALF and _mean_span(args.segments) <= SHORT_SPAN:
        with torch.autocast(query.device.type, enabled=False):  # which would cast them back to half precision
            return _sdpa_per_segment(query.float(), key.float(), value.float(), args).to(value.dtype)
    key, value = blocks.by_lineage(key, value, args.segments.offsets)
    return blocks.blocked_attention(query, key, value, args.segments, args.scaling, args.window, args.softcap)


def _mean_span(segments: Segments) -> float:
    """The length of a token's segment with all that it continues: the mean over the tokens."""
    if "span" not in segments.cache:
        spans = [length * (segments.depth(index) + length) for index, length in enumerate(segments.lengths)]
        segments.cache["span"] = sum(spans) / sum(segments.lengths)
    return segments.cache["span"]


# The whole stream at once: variable-length kernels, and FlexAttention.


def _flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, args: AttentionArgs) -> torch.Tensor:
    window, offsets = args.window, args.segments.offsets.to(query.device)
    key, value = blocks.by_lineage(key, value, offsets)
    output = _flash_function()(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seqlens_q=offsets.queries,
        cu_seqlens_k=offsets.keys,
        max_seqlen_q=offsets.longest_queries,
        max_seqlen_k=offsets.longest_keys,
        dropout_p=args.dropout,
        softmax_scale=args.scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
        softcap=args.softcap or 0.0,
    )
    return output[None]


def _varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, args: AttentionArgs) -> torch.Tensor:
    return _torch_varlen(query, key, value, args.segments.offsets.to(query.device), args.scaling, args.window)


def _torch_varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, offsets: Offsets, scaling: float, window: int | None
) -> torch.Tensor:
    key, value = blocks.by_lineage(key, value, offsets)
    heads = query.shape[1] // key.shape[1]
    options: dict[str, Any] = {"scale": scaling, "window_size": (-1 if window is None else window - 1, 0)}
    if heads > 1 and "enable_gqa" in VARLEN_OPTIONS:
        options["enable_gqa"] = True
    elif heads > 1:
        key, value = (tensor.repeat_interleave(heads, dim=1) for tensor in (key, value))
    output = VARLEN_FUNCTION(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        offsets.queries,
        offsets.keys,
        offsets.longest_queries,
        offsets.longest_keys,
        **options,
    )
    return output[None]


def _flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, args: AttentionArgs) -> torch.Tensor:
    compiled = _flex_function()
    output = compiled(
        query,
        key,
        value,
        block_mask=_block_mask(args.segments, args.window, query.device),
        scale=args.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


def _block_mask(segments: Segments, window: int | None, device: torch.device) -> Any:
    """FlexAttention's mask, built once per batch and window and shared by all layers."""
    cache_key = ("block mask", window, device)
    if cache_key not in segments.cache:
        from torch.nn.attention.flex_attention import create_block_mask

        count = len(segments.lengths)
        length = sum(segments.lengths)
        owner = torch.repeat_interleave(torch.arange(count), torch.tensor(segments.lengths)).to(device)
        depths = [segments.depth(index) for index in range(count)]
        starts = segments.starts
        position = (torch.arange(length) - torch.tensor(starts)[owner.cpu()] + torch.tensor(depths)[owner.cpu()]).to(
            device
        )
        sees = torch.zeros(count, count, dtype=torch.bool)
        for index in range(count):
            sees[index, segments.lineage(index)] = True
        sees = sees.to(device)

        def allowed(batch: Any, head: Any, query_index: torch.Tensor, key_index: torch.Tensor) -> torch.Tensor:
            behind = position[query_index] - position[key_index]
            near = behind >= 0 if window is None else (behind >= 0) & (behind < window)
            return sees[owner[query_index], owner[key_index]] & near

        segments.cache[cache_key] = create_block_mask(allowed, None, None, length, length, device=device)
    return segments.cache[cache_key]


@cache
def _flash_function() -> Any:
    if importlib.util.find_spec("flash_attn") is None:
        return None
    return importlib.import_module("flash_attn").flash_attn_varlen_func


@cache
def _flex_function() -> Any:
    """FlexAttention is fast only when compiled; lengths change with every batch, hence dynamic."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
