"""Texts to ids, all in one call, and which of a text's tokens hold some of its characters.

Tokenizers count that themselves, and are the slower for it (tokenizers 0.23: by a tenth to two fifths). The tokens of a byte-level one
need no such counting: each stands for some bytes of the text, as many as it has letters.
"""

from __future__ import annotations

import json
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray

    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

Span = tuple[int, int]
# Parts of a byte-level tokenizer that part a text and leave all of it there.
PARTING = ("ByteLevel", "Digits", "Punctuation", "Split")


class Aligned:
    """The ids of a text. What it asks about characters is found by tokenising beginnings of the text, which any tokenizer can."""

    def __init__(self, tokenizer: Tokenizer, text: str, ids: list[int]) -> None:
        self.tokenizer, self.text, self.ids = tokenizer, text, ids

    def tokens_of(self, span: Span) -> Span:
        """The first and one past the last token that hold any of these characters."""
        start, end = span
        return (0, 0) if end <= start else self._tokens(start, end)

    def parts_at(self, position: int) -> bool:
        """Whether no token holds characters from both sides of this position."""
        return self.ids[: self._shared(position)] == self._beginning(position)

    def _tokens(self, start: int, end: int) -> Span:
        first = self._shared(start)
        return first, max(self._shared(end), first)

    def _beginning(self, position: int) -> list[int]:
        return self.tokenizer.backend.encode(self.text[:position], add_special_tokens=False).ids

    def _shared(self, position: int) -> int:
        """How many ids the text up to a position shares with the whole."""
        part = self._beginning(position)
        return next(
            (at for at, (a, b) in enumerate(zip(part, self.ids, strict=False)) if a != b), min(len(part), len(self.ids))
        )


class _ByOffsets(Aligned):
    """As the tokenizer has counted."""

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

    def parts_at(self, position: int) -> bool:
        before, after = self._encoding.char_to_token(position - 1), self._encoding.char_to_token(position)
        return before is None or before != after

    def _token_from(self, positions: range) -> int | None:
        found = (self._encoding.char_to_token(position) for position in positions)
        return next((token for token in found if token is not None), None)

    def _chars(self, token: int) -> Span:
        return self._encoding.token_to_chars(token) or (-1, -1)


class _ByBytes(Aligned):
    """By how many bytes of the text lie before the end of each token: `ends`, all of them `begin` too many."""

    def __init__(self, tokenizer: Tokenizer, text: str, ids: list[int], ends: ndarray, begin: int) -> None:
        super().__init__(tokenizer, text, ids)
        self._ends, self._begin, self._plain = ends, begin, text.isascii()

    def _tokens(self, start: int, end: int) -> Span:
        first = self._ends.searchsorted(self._at(start), side="right")
        last = self._ends.searchsorted(self._at(end), side="left")
        return int(first), min(int(last) + 1, len(self.ids))

    def parts_at(self, position: int) -> bool:
        at = self._at(position)
        token = int(self._ends.searchsorted(at, side="left"))
        return token == len(self.ids) or int(self._ends[token]) == at

    def _at(self, position: int) -> int:
        return self._begin + (position if self._plain else len(self.text[:position].encode()))


class Tokens:
    """What a tokenizer makes of some texts, on all cores. Making it touches nothing else, so that it can be done beside other work."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], spans: bool = True) -> None:
        """`spans` says that characters will be asked for."""
        self.tokenizer, self.texts = tokenizer, texts
        self._bytes = tokenizer.bytes_of_ids if spans else None
        if self._bytes is not None and not all(map(self._bytes.keeps, texts)):
            self._bytes = None
        self._offsets = spans and self._bytes is None and tokenizer.counts_characters
        backend = tokenizer.backend
        encode = backend.encode_batch if self._offsets else backend.encode_batch_fast
        self._encodings: list[Any] = encode(list(texts), add_special_tokens=False)

    def aligned(self) -> Iterator[Aligned]:
        """Each text's ids, once; what the tokenizer holds of it is let go of on the way."""
        encodings = self._encodings
        encodings.reverse()
        if self._offsets:
            for text in self.texts:
                yield _ByOffsets(self.tokenizer, text, encodings.pop())
        elif self._bytes is None:
            for text in self.texts:
                yield Aligned(self.tokenizer, text, encodings.pop().ids)
        else:
            yield from self._by_bytes(encodings, self._bytes)

    def _by_bytes(self, encodings: list[Any], held: BytesOfIds) -> Iterator[Aligned]:
        import numpy

        flat, all_ids = array("i"), []
        while encodings:
            ids = encodings.pop().ids
            flat.fromlist(ids)
            all_ids.append(ids)
        ends = numpy.cumsum(held.of(numpy.frombuffer(flat, dtype=numpy.int32)), dtype=numpy.int64)
        at = begin = 0
        for text, ids in zip(self.texts, all_ids, strict=True):
            own = ends[at : at + len(ids)]
            at += len(ids)
            end = int(own[-1]) if len(ids) else begin
            if end - begin == (len(text) if text.isascii() else len(text.encode())):
                yield _ByBytes(self.tokenizer, text, ids, own, begin)
            else:
                yield Aligned(self.tokenizer, text, ids)
            begin = end


class BytesOfIds:
    """How many bytes of the text each id of a byte-level tokenizer stands for."""

    def __init__(self, backend: Any) -> None:
        import numpy

        self._backend = backend
        self._added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
        self._known = numpy.zeros(0, dtype=numpy.int32)  # by id, below nought where it was not met
        self._composes = backend.normalizer is not None

    @classmethod
    def of_backend(cls, backend: Any) -> BytesOfIds | None:
        """None for a tokenizer whose tokens may stand for something else than the bytes of the text, in their order."""
        parting, normalizer, model = (getattr(backend, name, None) for name in ("pre_tokenizer", "normalizer", "model"))
        if parting is None or model is None or type(model).__name__ != "BPE":
            return None
        if model.continuing_subword_prefix or model.end_of_word_suffix or model.unk_token:
            return None
        steps = json.loads(parting.__getstate__())
        steps = steps["pretokenizers"] if steps["type"] == "Sequence" else [steps]
        whole = all(
            step["type"] in PARTING and not step.get("add_prefix_space") and step.get("behavior") != "Removed"
            for step in steps
        )
        if not whole or not any(step["type"] == "ByteLevel" for step in steps):
            return None
        if normalizer is not None and json.loads(normalizer.__getstate__()) != {"type": "NFC"}:
            return None
        if any(token.lstrip or token.rstrip for token in backend.get_added_tokens_decoder().values()):
            return None
        return cls(backend)

    def keeps(self, text: str) -> bool:
        """Whether the tokenizer takes the text as it is written."""
        return not self._composes or text.isascii() or unicodedata.is_normalized("NFC", text)

    def of(self, ids: ndarray) -> ndarray:
        """The bytes of each of these ids."""
        import numpy

        beyond = int(ids.max(initial=-1)) + 1 - len(self._known)  # ids may have gaps: the vocabulary's size bounds none
        if beyond > 0:
            self._known = numpy.append(self._known, numpy.full(beyond, -1, dtype=numpy.int32))
        held = self._known[ids]
        new = numpy.unique(ids[held < 0])
        if len(new):
            self._known[new] = [self._look_up(number) for number in new.tolist()]
            held = self._known[ids]
        return held

    def _look_up(self, number: int) -> int:
        added = self._added.get(number)
        return len(self._backend.id_to_token(number)) if added is None else len(added.encode())
