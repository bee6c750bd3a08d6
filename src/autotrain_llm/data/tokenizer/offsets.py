"""Tokenise texts in one call, and find which tokens hold some characters of a text, by the tokenizer's offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Span = tuple[int, int]


class AlignedIds:
    """The ids of a text. Which tokens hold which characters is found by tokenising prefixes of the text, which works with any tokenizer."""

    def __init__(self, tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
        self.tokenizer, self.text, self.ids = tokenizer, text, ids

    def tokens_of(self, span: Span) -> Span:
        """The index of the first token that holds any of these characters, and the one after the last."""
        start, end = span
        return (0, 0) if end <= start else self._tokens(start, end)

    def splits_at(self, position: int) -> bool:
        """Whether no token holds characters from both sides of this position."""
        return self.ids[: self._shared(position)] == self._beginning(position)

    def _tokens(self, start: int, end: int) -> Span:
        first = self._shared(start)
        return first, max(self._shared(end), first)

    def _beginning(self, position: int) -> list[int]:
        return self.tokenizer.backend.encode(self.text[:position], add_special_tokens=False).ids

    def _shared(self, position: int) -> int:
        """The number of ids that the text up to a position has in common with the whole text."""
        part = self._beginning(position)
        pairs = enumerate(zip(part, self.ids, strict=False))
        return next((index for index, (a, b) in pairs if a != b), min(len(part), len(self.ids)))


class _WithOffsets(AlignedIds):
    """By the offsets of the tokenizer's own encoding."""

    def __init__(self, tokenizer: Tokenizer, text: str, encoding: Any) -> None:
        super().__init__(tokenizer, text, encoding.ids)
        self._encoding = encoding

    def _tokens(self, start: int, end: int) -> Span:
        first = self._token_from(range(start, end))
        last = self._token_from(range(end - 1, start - 1, -1))
        if first is None or last is None:
            return (0, 0)
        while first > 0 and self._chars(first - 1)[0] >= start:
            first -= 1  # a token of spaces, whose offsets the tokenizer trims away
        while last + 1 < len(self.ids) and self._chars(last + 1)[0] in range(start, end):
            last += 1  # the rest of a character that takes several tokens
        return first, last + 1

    def splits_at(self, position: int) -> bool:
        before, after = self._encoding.char_to_token(position - 1), self._encoding.char_to_token(position)
        return before is None or before != after

    def _token_from(self, positions: range) -> int | None:
        tokens = (self._encoding.char_to_token(position) for position in positions)
        return next((token for token in tokens if token is not None), None)

    def _chars(self, token: int) -> Span:
        return self._encoding.token_to_chars(token) or (-1, -1)


class TokenBatch:
    """Some texts as encoded by a tokenizer, on all cores. Creating it reads nothing else, so that it can run in another thread."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], spans: bool = True) -> None:
        """`spans` must be set if the tokens of characters are needed. Offsets cost time (tokenizers 0.23: a tenth to two fifths)."""
        self.tokenizer, self.texts = tokenizer, texts
        backend = tokenizer.offsets_backend if spans else None
        self._offsets = backend is not None
        self._encodings = tokenizer.encodings(texts, offsets_by=backend)

    def aligned(self) -> Iterator[AlignedIds]:
        """Each text's ids, once; an encoding is freed as soon as its row is taken, because all together take much memory."""
        encodings = self._encodings
        encodings.reverse()
        for text in self.texts:
            encoding = encodings.pop()
            if self._offsets:
                yield _WithOffsets(self.tokenizer, text, encoding)
            else:
                yield AlignedIds(self.tokenizer, text, encoding.ids)
