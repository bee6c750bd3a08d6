"""Pieces of text to ids: all of a batch in one call, with what is trained on counted in tokens."""

from __future__ import annotations

from dataclasses import dataclass

from autotrain_llm.data.pieces import Piece
from autotrain_llm.data.tokenizer import Aligned, Tokenizer

Span = tuple[int, int]


@dataclass(slots=True)
class Encoded:
    """One piece as ids; the tokens in `spans` are trained on."""

    ids: list[int]
    spans: list[Span]


def encode_pieces(tokenizer: Tokenizer, made: list[tuple[int, list[Piece]]]) -> list[tuple[int, list[Encoded]]]:
    """The ids of each example's pieces, all tokenised in one call."""
    flat = [piece for _, pieces in made for piece in pieces]
    if all(piece.whole for piece in flat):
        ids = tokenizer.encode_batch([piece.text for piece in flat])
        encoded = [_framed(piece, held, [(0, len(held))]) for piece, held in zip(flat, ids, strict=True)]
    else:
        aligned = tokenizer.encode_aligned([piece.text for piece in flat])
        encoded = [
            _framed(piece, *_spans_of(tokenizer, piece, held)) for piece, held in zip(flat, aligned, strict=True)
        ]
    each = iter(encoded)
    return [(at, [next(each) for _ in pieces]) for at, pieces in made]


def _spans_of(tokenizer: Tokenizer, piece: Piece, aligned: Aligned) -> tuple[list[int], list[Span]]:
    """The ids of a text and its trained stretches in tokens."""
    seam = piece.seam
    if seam is not None and 0 < seam < len(piece.text):
        prompt, answer = piece.text[:seam], piece.text[seam:]
        if prompt[-1].isspace() or not aligned.parts_at(seam):
            # A token across the seam would never be seen when the prompt is given alone.
            before, after = tokenizer.encode_batch([prompt, answer])
            if aligned.ids[: len(before)] != before:
                whole = (0, len(before) + len(after)) if piece.whole else (len(before), len(before) + len(after))
                return before + after, [whole]
    if piece.whole:
        return aligned.ids, [(0, len(aligned.ids))]
    spans = [aligned.tokens_of(span) for span in piece.spans]
    return aligned.ids, [span for span in spans if span[1] > span[0]]


def _framed(piece: Piece, ids: list[int], spans: list[Span]) -> Encoded:
    """The ids with what stands before and after the text; a closing token that is trained on joins the last span."""
    shift, closing = len(piece.before), piece.after if ids[-len(piece.after) :] != piece.after else []
    moved = [(start + shift, end + shift) for start, end in spans]
    if piece.whole and moved:
        moved[0] = (0, moved[0][1])
    whole = [*piece.before, *ids, *closing]
    if closing and moved and moved[-1][1] == shift + len(ids):
        moved[-1] = (moved[-1][0], len(whole))
    return Encoded(whole, moved)
