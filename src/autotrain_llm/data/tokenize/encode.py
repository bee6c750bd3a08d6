"""Pieces of text to ids: all of a batch in one call, with what is trained on counted in tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotrain_llm.data.tokenize.render import RenderedRow
from autotrain_llm.data.tokenizer.offsets import AlignedIds, TokenBatch
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Span = tuple[int, int]


@dataclass(slots=True)
class Encoded:
    """One piece as ids; the tokens in `spans` are trained on."""

    ids: list[int]
    spans: list[Span]


def tokenised(tokenizer: Tokenizer, made: list[tuple[int, list[RenderedRow]]]) -> TokenBatch:
    """What the tokenizer makes of all examples' pieces, in one call: all the work that is not Python's own, on all cores."""
    flat = [piece for _, pieces in made for piece in pieces]
    return TokenBatch(tokenizer, [piece.text for piece in flat], spans=not all(map(_is_taken_whole, flat)))


def encoded_pieces(
    made: list[tuple[int, list[RenderedRow]]], tokens: TokenBatch
) -> Iterator[tuple[int, list[Encoded]]]:
    """Each example's pieces as ids, from what `tokenised` gave."""
    aligned = tokens.aligned()
    for at, pieces in made:
        yield at, [_encoded(piece, next(aligned)) for piece in pieces]


def _is_taken_whole(piece: RenderedRow) -> bool:
    """Whether all tokens are trained on, wherever its parts meet."""
    return piece.whole and piece.prompt_end is None


def _encoded(piece: RenderedRow, aligned: AlignedIds) -> Encoded:
    if _is_taken_whole(piece):
        return _framed(piece, aligned.ids, [(0, len(aligned.ids))])
    return _framed(piece, *_spans_of(piece, aligned))


def _spans_of(piece: RenderedRow, aligned: AlignedIds) -> tuple[list[int], list[Span]]:
    """The ids of a text and its trained stretches in tokens."""
    prompt_end = piece.prompt_end
    if prompt_end is not None and 0 < prompt_end < len(piece.text):
        prompt, answer = piece.text[:prompt_end], piece.text[prompt_end:]
        if prompt[-1].isspace() or not aligned.splits_at(prompt_end):
            # A token across the seam would never be seen when the prompt is given alone.
            before, after = aligned.tokenizer.encode_batch([prompt, answer])
            if aligned.ids[: len(before)] != before:
                whole = (0, len(before) + len(after)) if piece.whole else (len(before), len(before) + len(after))
                return before + after, [whole]
    if piece.whole:
        return aligned.ids, [(0, len(aligned.ids))]
    spans = [aligned.tokens_of(span) for span in piece.spans]
    return aligned.ids, [span for span in spans if span[1] > span[0]]


def _framed(piece: RenderedRow, ids: list[int], spans: list[Span]) -> Encoded:
    """The ids with what stands before and after the text; a closing token that is trained on joins the last span."""
    if not piece.before and not piece.after:
        return Encoded(ids, spans)
    shift, closing = len(piece.before), piece.after if ids[-len(piece.after) :] != piece.after else []
    moved = [(start + shift, end + shift) for start, end in spans]
    if piece.whole and moved:
        moved[0] = (0, moved[0][1])
    whole = [*piece.before, *ids, *closing]
    if closing and moved and moved[-1][1] == shift + len(ids):
        moved[-1] = (moved[-1][0], len(whole))
    return Encoded(whole, moved)
