"""Causal attention that stays inside the segments of one stream, registered with transformers' public attention interface.

The function is called once per layer with queries, keys and values of the whole stream; the segments travel as a keyword
argument of the model's call. Everything that a layer may ask for (window, softcap, scaling, dropout, fewer heads for keys) is
honoured; what is not known is refused, never ignored.
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
from transformers import AttentionInterface, AttentionMaskInterface

from autotrain_llm.planning.memory_model import SHORT_SPAN
from autotrain_llm.run.engine.flat import cpu_attention as blocks
from autotrain_llm.run.engine.flat.batch import Segments

NAME = "autotrain_flat"

# The ways to compute it, in the order in which they are tried.
FLASH = "flash_attn variable length"
VARLEN = "torch variable length"
FLEX = "flex attention"
BLOCKS = "blocks of matrix products"
SDPA = "scaled dot product per segment"

HALF = (torch.float16, torch.bfloat16)


def register() -> str:
    """Make the name known to transformers, with no mask of its own; returns the name."""
    AttentionInterface.register(NAME, flat_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Segments say all that a mask would."""


def backend(device: str, dtype: torch.dtype, *, softcap: bool = False, dropout: bool = False) -> str:
    """How attention will be computed on this kind of device, in these circumstances, with the packages that are installed."""
    # In float32 torch's own kernel for processors is as fast as the blocks on rows of 256 tokens, and faster on shorter ones.
    if device == "cpu" and not dropout and (softcap or dtype != torch.float32):
        return BLOCKS
    if device != "cuda":
        return SDPA
    if dtype in HALF and _flash_function() is not None:
        return FLASH
    # torch's own kernel knows no softcap, and FlexAttention's backward fails where scores are bent (torch 2.11, on an H200).
    if dropout or softcap:
        return SDPA
    if dtype in HALF and _varlen_function() is not None:
        return VARLEN
    return FLEX


@dataclass(frozen=True)
class AttentionArgs:
    """What a layer asks for besides queries, keys and values. `window` is None where no segment is longer than it."""

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
    """Attention over a stream; `query` is (1, heads, T, size), the result (1, T, heads, size)."""
    if segments is None:
        raise ValueError("attention over segments was called without segments: switch the model back to its own first")
    if s_aux is not None or position_bias is not None or attention_mask is not None:
        raise ValueError("attention over segments knows no sinks, no position bias and no mask")
    if query.shape[0] != 1 or query.shape[2] != sum(segments.lengths):
        raise ValueError(f"a stream of {sum(segments.lengths)} tokens, but queries of shape {tuple(query.shape)}")
    query, key, value = _same_type(query, key, value)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = sliding_window if sliding_window is not None and sliding_window < _longest(segments) else None
    chosen = backend(query.device.type, query.dtype, softcap=softcap is not None, dropout=dropout > 0)
    compute = {FLASH: _flash, VARLEN: _varlen, FLEX: _flex, BLOCKS: _blocks, SDPA: _per_segment}[chosen]
    return compute(query, key, value, AttentionArgs(segments, scaling, dropout, window, softcap)), None


def _same_type(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rotary embeddings leave queries and keys in float32 under autocast, where values are in half precision."""
    device = tensors[0].device.type
    if torch.is_autocast_enabled(device) and tensors[0].dtype != torch.float64:
        kind = torch.get_autocast_dtype(device)
    else:
        kind = tensors[-1].dtype
    return tuple(tensor.to(kind) for tensor in tensors)


def _longest(segments: Segments) -> int:
    """The most tokens that any token can attend to, itself included."""
    if "longest" not in segments.built:
        spans = (segments.depth(number) + length for number, length in enumerate(segments.lengths))
        segments.built["longest"] = max(spans)
    return segments.built["longest"]


# One segment after the other: any device, any type, everything that can be asked for.


def _per_segment(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: AttentionArgs) -> torch.Tensor:
    """One split and one concatenation, so that backward neither fills nor adds a whole stream per segment."""
    segments, bent = asked.segments, asked.softcap is not None
    lengths = list(segments.lengths)
    queries, keys, values = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for number, own in enumerate(queries):
        line = segments.lineage(number)
        seen = _joined(keys, line), _joined(values, line)
        mask = _mask(segments, number, asked.window, bent, query.device)
        outputs.append((_softcapped if bent else _scaled_dot_product)(own, *seen, mask, asked))
    return torch.cat([output.transpose(1, 2) for output in outputs], dim=1)


def _joined(parts: tuple[torch.Tensor, ...], line: list[int]) -> torch.Tensor:
    return parts[line[0]] if len(line) == 1 else torch.cat([parts[number] for number in line], dim=2)


def _mask(
    segments: Segments, number: int, window: int | None, always: bool, device: torch.device
) -> torch.Tensor | None:
    """What the tokens of a segment may see of its line, or None where plain causal attention says the same."""
    length, depth = segments.lengths[number], segments.depth(number)
    span = depth + length
    narrow = window is not None and window < span
    if not (always or depth or narrow):
        return None
    known = ("mask", length, depth, window if narrow else None, device)
    if known not in segments.built:
        behind = torch.arange(depth, span, device=device)[:, None] - torch.arange(span, device=device)
        seen = behind >= 0
        segments.built[known] = seen & (behind < window) if narrow and window is not None else seen
    return segments.built[known]


def _scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    asked: AttentionArgs,
) -> torch.Tensor:
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=asked.dropout,
        is_causal=mask is None,
        scale=asked.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _softcapped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    asked: AttentionArgs,
) -> torch.Tensor:
    if mask is None or asked.softcap is None:
        raise ValueError("softcapped attention is computed with an explicit mask")
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) if groups > 1 else tensor for tensor in (key, value))
    scores = (query @ key.transpose(2, 3)).to(torch.promote_types(query.dtype, torch.float32))
    scores = torch.tanh(scores * (asked.scaling / asked.softcap)) * asked.softcap
    shares = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(value.dtype)
    return functional.dropout(shares, asked.dropout) @ value


# Blocks of the stream, on a processor.


def _blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: AttentionArgs) -> torch.Tensor:
    if asked.softcap is None and query.dtype in HALF and _usual_span(asked.segments) <= SHORT_SPAN:
        with torch.autocast(query.device.type, enabled=False):  # which would take them back to half precision
            return _per_segment(query.float(), key.float(), value.float(), asked).to(value.dtype)
    key, value = _with_parents(key, value, asked.segments)
    return blocks.blocked_attention(query, key, value, asked.segments, asked.scaling, asked.window, asked.softcap)


def _usual_span(segments: Segments) -> float:
    """How many tokens a token's segment has, with all that it continues: the mean over the tokens."""
    if "span" not in segments.built:
        spans = [length * (segments.depth(number) + length) for number, length in enumerate(segments.lengths)]
        segments.built["span"] = sum(spans) / sum(segments.lengths)
    return segments.built["span"]


# The whole stream at once: kernels for variable lengths, and FlexAttention.


def _flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: AttentionArgs) -> torch.Tensor:
    segments, window = asked.segments, asked.window
    offsets = _offsets(segments, query.device)
    key, value = _with_parents(key, value, segments)
    output = _flash_function()(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_seqlens_q=offsets["queries"],
        cu_seqlens_k=offsets["keys"],
        max_seqlen_q=max(segments.lengths),
        max_seqlen_k=_longest(segments),
        dropout_p=asked.dropout,
        softmax_scale=asked.scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
        softcap=asked.softcap or 0.0,
    )
    return output[None]


def _varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: AttentionArgs) -> torch.Tensor:
    segments, window = asked.segments, asked.window
    offsets = _offsets(segments, query.device)
    key, value = _with_parents(key, value, segments)
    function = _varlen_function()
    heads = query.shape[1] // key.shape[1]
    named = set(inspect.signature(function).parameters)
    options: dict[str, Any] = {"scale": asked.scaling, "window_size": (-1 if window is None else window - 1, 0)}
    if heads > 1 and "enable_gqa" in named:
        options["enable_gqa"] = True
    elif heads > 1:
        key, value = (tensor.repeat_interleave(heads, dim=1) for tensor in (key, value))
    output = function(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        offsets["queries"],
        offsets["keys"],
        max(segments.lengths),
        _longest(segments),
        **options,
    )
    return output[None]


def _offsets(segments: Segments, device: torch.device) -> dict[str, torch.Tensor]:
    """Cumulative lengths of what asks and of what is seen, and the order of the keys where segments continue others."""
    known = ("offsets", device)
    if known not in segments.built:
        starts = segments.starts
        lines = [segments.lineage(number) for number in range(len(starts))]
        spans = [sum(segments.lengths[one] for one in line) for line in lines]
        built = {"queries": _cumulative(segments.lengths, device), "keys": _cumulative(spans, device)}
        if segments.chained:
            places = [torch.arange(starts[one], starts[one] + segments.lengths[one]) for line in lines for one in line]
            built["order"] = torch.cat(places).to(device)
        segments.built[known] = built
    return segments.built[known]


def _cumulative(lengths: Any, device: torch.device) -> torch.Tensor:
    return functional.pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0)).to(device)


def _with_parents(key: torch.Tensor, value: torch.Tensor, segments: Segments) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values in which each segment's line stands together, as these kernels want it: causal from the end."""
    if not segments.chained:
        return key, value
    order = _offsets(segments, key.device)["order"]
    return key.index_select(2, order), value.index_select(2, order)


def _flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: AttentionArgs) -> torch.Tensor:
    compiled = _flex_function()
    output = compiled(
        query,
        key,
        value,
        block_mask=_block_mask(asked.segments, asked.window, query.device),
        scale=asked.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


def _block_mask(segments: Segments, window: int | None, device: torch.device) -> Any:
    """FlexAttention's mask, built once per batch and window and shared by all layers."""
    known = ("block mask", window, device)
    if known not in segments.built:
        from torch.nn.attention.flex_attention import create_block_mask

        count = len(segments.lengths)
        length = sum(segments.lengths)
        owner = torch.repeat_interleave(torch.arange(count), torch.tensor(segments.lengths)).to(device)
        depths = [segments.depth(number) for number in range(count)]
        starts = segments.starts
        position = (torch.arange(length) - torch.tensor(starts)[owner.cpu()] + torch.tensor(depths)[owner.cpu()]).to(
            device
        )
        sees = torch.zeros(count, count, dtype=torch.bool)
        for number in range(count):
            sees[number, segments.lineage(number)] = True
        sees = sees.to(device)

        def allowed(batch: Any, head: Any, asking: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
            behind = position[asking] - position[seen]
            near = behind >= 0 if window is None else (behind >= 0) & (behind < window)
            return sees[owner[asking], owner[seen]] & near

        segments.built[known] = create_block_mask(allowed, None, None, length, length, device=device)
    return segments.built[known]


@cache
def _flash_function() -> Any:
    if importlib.util.find_spec("flash_attn") is None:
        return None
    return importlib.import_module("flash_attn").flash_attn_varlen_func


@cache
def _varlen_function() -> Any:
    """torch's own kernel, where this torch has one that takes a window: an earlier one could only say causal or not."""
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return None
    function = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    return function if "window_size" in inspect.signature(function).parameters else None


@cache
def _flex_function() -> Any:
    """FlexAttention only keeps its promise compiled; lengths change with every batch, hence dynamic."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
