"""Prepared rows as the model sees them: pieces of text, and whether each is trained on. The command line and pages add colours."""

from __future__ import annotations

from typing import Any

from autotrain_llm.data.tokenize.prepare import Prepared
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Segment = tuple[str, bool]
Part = tuple[str, list[Segment]]


def preview(prepared: Prepared, tokenizer: Tokenizer, count: int) -> list[list[Segment]]:
    """The training rows to show, each as (text, trained on) segments; of a pair both answers follow their prompt."""
    return [
        [segment for _, segments in parts for segment in segments]
        for _, parts in preview_parts(prepared, tokenizer, count)
    ]


def preview_parts(prepared: Prepared, tokenizer: Tokenizer, count: int) -> list[tuple[str | None, list[Part]]]:
    """The same with the name of a mixture's source, and in parts with names: `row`, or of a pair `prompt`, `chosen` and `rejected`."""
    sides = prepared.train.sides
    return [
        (source, [(name or "row", _row(tokenizer, *side[at])) for name, side in sides.items()])
        for source, at in rows_to_show(prepared, count)
    ]


def rows_to_show(prepared: Prepared, count: int) -> list[tuple[str | None, int]]:
    """The first `count` training rows of each source, with its name: None without a mixture."""
    names = [source.name for source in prepared.mixture.sources] if prepared.mixture else [None]
    sizes = [len(part) for part in prepared.train.parts]
    shown, start = list[tuple[str | None, int]](), 0
    for name, size in zip(names, sizes, strict=True):
        shown += [(name, start + at) for at in range(min(count, size))]
        start += size
    return shown


def _row(tokenizer: Tokenizer, ids: Any, loss_mask: Any) -> list[Segment]:
    segments: list[Segment] = []
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or bool(loss_mask[at]) != bool(loss_mask[start]):
            segments.append((tokenizer.decode(ids[start:at]), bool(loss_mask[start])))
            start = at
    return segments
