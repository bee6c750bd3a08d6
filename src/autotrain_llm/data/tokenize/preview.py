"""Prepared rows as the model sees them: pieces of text, and whether each is trained on. The command line adds colours."""

from __future__ import annotations

from typing import Any

from autotrain_llm.data.rows import PairRows
from autotrain_llm.data.tokenize.prepare import Prepared
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Segment = tuple[str, bool]


def preview(prepared: Prepared, tokenizer: Tokenizer, count: int) -> list[list[Segment]]:
    """The training rows to show, each as (text, trained on) segments; of a pair both answers follow their prompt."""
    rows, indices = prepared.train, [index for _, index in rows_to_show(prepared, count)]
    if isinstance(rows, PairRows):
        parts = (rows.prompt, rows.chosen, rows.rejected)
        return [[segment for part in parts for segment in _row(tokenizer, *part[at])] for at in indices]
    return [_row(tokenizer, *rows[at]) for at in indices]


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
