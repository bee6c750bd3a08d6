"""Convert rendered rows to ids, a batch in one call, and their trained spans from characters to tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotrain_llm.data.tokenize.render import RenderedRow
from autotrain_llm.data.tokenizer.offsets import AlignedIds, TokenBatch
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Span = tuple[int, int]


@dataclass(slots=True)
class Encoded:
    """One rendered row as ids; the tokens in `spans` are trained on."""

    ids: list[int]
    spans: list[Span]


def tokenised(tokenizer: Tokenizer, rendered: list[tuple[int, list[RenderedRow]]]) -> TokenBatch:
    """Tokenise all rendered rows in one call: the work that runs outside of Python, on all cores, and reads nothing else, so that another thread can do it."""
    rows = [row for _, rows_of_example in rendered for row in rows_of_example if row.ids is None]
    spans = not all(row.whole and row.prompt_end is None for row in rows)
    return TokenBatch(tokenizer, [row.text for row in rows], spans)


def encoded_rows(
    rendered: list[tuple[int, list[RenderedRow]]], tokens: TokenBatch
) -> Iterator[tuple[int, list[Encoded]]]:
    """Each example's rows as ids, from the result of `tokenised`."""
    aligned = tokens.aligned()
    for at, rows in rendered:
        yield (
            at,
            [
                Encoded(row.ids, row.spans)
                if row.ids is not None
                else _with_special_tokens(row, *_spans_of(row, next(aligned)))
                for row in rows
            ],
        )


def _spans_of(row: RenderedRow, aligned: AlignedIds) -> tuple[list[int], list[Span]]:
    """The ids of a text and the spans of tokens that are trained on."""
    end = row.prompt_end
    if end is not None and 0 < end < len(row.text):
        prompt, answer = row.text[:end], row.text[end:]
        if prompt[-1].isspace() or not aligned.splits_at(end):
            # A token across the end of the prompt would never be seen when the prompt is given alone.
            before, after = aligned.tokenizer.encode_batch([prompt, answer])
            if aligned.ids[: len(before)] != before:
                start = 0 if row.whole else len(before)
                return before + after, [(start, len(before) + len(after))]
    if row.whole:
        return aligned.ids, [(0, len(aligned.ids))]
    spans = [aligned.tokens_of(span) for span in row.spans]
    return aligned.ids, [span for span in spans if span[1] > span[0]]


def _with_special_tokens(row: RenderedRow, ids: list[int], spans: list[Span]) -> Encoded:
    """The ids with those before and after the text; a closing token that is trained on joins the last span."""
    if not row.before and not row.after:
        return Encoded(ids, spans)
    shift, closing = len(row.before), row.after if ids[-len(row.after) :] != row.after else []
    moved = [(start + shift, end + shift) for start, end in spans]
    if row.whole and moved:
        moved[0] = (0, moved[0][1])
    whole = [*row.before, *ids, *closing]
    if closing and moved and moved[-1][1] == shift + len(ids):
        moved[-1] = (moved[-1][0], len(whole))
    return Encoded(whole, moved)
