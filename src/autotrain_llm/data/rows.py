"""`TokenRows`: rows of token ids as flat arrays, for memory, cache and training."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray

ARRAYS = ("ids", "loss_mask", "offsets", "source", "labels", "scores")
PER_TOKEN = ("ids", "loss_mask")  # all others have a value for each row
OPTIONAL = ("labels", "scores")


@dataclass
class TokenRows:
    """Row i is `offsets[i]:offsets[i+1]` of `ids` (int32) and `loss_mask` (bool: the token is a target). `source` is the index of the
    Example that a row came from (for a block: of the first Example in it). `labels` are set only for rows that are labelled good or bad, and
    `scores` (rows, scores; float64) only for graded rows: their scores, or the index of their class."""

    ids: ndarray
    loss_mask: ndarray
    offsets: ndarray
    source: ndarray
    labels: ndarray | None = None
    scores: ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> tuple[ndarray, ndarray]:
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.ids[part], self.loss_mask[part]

    def __iter__(self) -> Iterator[tuple[ndarray, ndarray]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> ndarray:
        """The number of tokens of each row."""
        return self.offsets[1:] - self.offsets[:-1]

    def select(self, places: ndarray) -> TokenRows:
        """The rows at these indices."""
        import numpy

        lengths = self.lengths[places]
        offsets = numpy.zeros(len(places) + 1, dtype=numpy.int64)
        numpy.cumsum(lengths, out=offsets[1:])
        tokens = numpy.repeat(self.offsets[places] - offsets[:-1], lengths) + numpy.arange(int(offsets[-1]))
        labels = None if self.labels is None else self.labels[places]
        scores = None if self.scores is None else self.scores[places]
        return TokenRows(self.ids[tokens], self.loss_mask[tokens], offsets, self.source[places], labels, scores)

    @property
    def parts(self) -> Sequence[TokenRows]:
        """The rows of each source of a mixture, which follow one another; the rows themselves otherwise."""
        return (self,)

    @property
    def sides(self) -> dict[str, TokenRows]:
        """The arrays by the part of a row that they are of: one without a name."""
        return {"": self}

    def trained_ids(self) -> ndarray:
        """The different tokens that are trained on, in ascending order."""
        import numpy

        return numpy.unique(self.ids[self.loss_mask])

    def arrays(self) -> dict[str, ndarray]:
        """The arrays by name, for the cache."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}


class JoinedRows(TokenRows):
    """The rows of several sources, one source after the other, without a copy of their tokens: it has no `ids` and no `loss_mask` of its
    own. `source` are indices into the Examples of all sources, of which each source has as many as `examples` says."""

    def __init__(self, parts: Sequence[TokenRows], examples: Sequence[int]) -> None:
        import numpy

        self._parts, self._examples = tuple(parts), tuple(examples)
        self._starts = [0, *accumulate(len(part) for part in parts)]
        self.offsets = numpy.zeros(self._starts[-1] + 1, dtype=numpy.int64)
        numpy.cumsum(numpy.concatenate([part.lengths for part in parts]), out=self.offsets[1:])
        before = accumulate(examples, initial=0)
        self.source = numpy.concatenate([part.source + start for part, start in zip(parts, before, strict=False)])
        labels = [part.labels for part in parts if part.labels is not None]
        self.labels = numpy.concatenate(labels) if labels else None
        scores = [part.scores for part in parts if part.scores is not None]
        self.scores = numpy.concatenate(scores) if scores else None

    @property
    def parts(self) -> Sequence[TokenRows]:
        return self._parts

    def trained_ids(self) -> ndarray:
        import numpy

        return numpy.unique(numpy.concatenate([part.trained_ids() for part in self._parts]))

    def select(self, places: ndarray) -> TokenRows:
        return JoinedRows(self._selected(places), self._examples)

    def _selected(self, places: ndarray) -> list[TokenRows]:
        """Of each part, its rows among those at these indices, which are in ascending order."""
        ends = pairwise(self._starts)
        own = [places[(places >= start) & (places < end)] - start for start, end in ends]
        return [part.select(at) for part, at in zip(self._parts, own, strict=True)]

    def __getitem__(self, row: int) -> tuple[ndarray, ndarray]:
        row = range(len(self))[row]
        part = bisect_right(self._starts, row) - 1
        return self._parts[part][row - self._starts[part]]


class StoredRows(JoinedRows):
    """The rows of one data set that lie in several sets of files, without a copy of their tokens."""

    def __init__(self, sets: Sequence[TokenRows]) -> None:
        super().__init__(sets, [0 for _ in sets])  # their sources are indices into the Examples of all sets already

    @property
    def parts(self) -> Sequence[TokenRows]:
        return (self,)

    def select(self, places: ndarray) -> TokenRows:
        return StoredRows(self._selected(places))


@dataclass
class PairRows:
    """Preference rows: for each, the prompt's ids and those of both answers. `loss_mask` is False for prompts and True for answers."""

    prompt: TokenRows
    chosen: TokenRows
    rejected: TokenRows

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def lengths(self) -> Any:
        """The tokens of prompt and chosen, and of prompt and rejected, for each row: shape (rows, 2)."""
        import numpy

        prompt = self.prompt.lengths
        return numpy.stack([prompt + self.chosen.lengths, prompt + self.rejected.lengths], axis=1)

    @property
    def source(self) -> ndarray:
        """The index of the Example that each row came from."""
        return self.prompt.source

    def select(self, places: ndarray) -> PairRows:
        """The rows at these indices."""
        return PairRows(*(side.select(places) for side in self.sides.values()))

    @property
    def sides(self) -> dict[str, TokenRows]:
        """The arrays by the part of a row that they are of: its prompt and its answers."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def parts(self) -> Sequence[PairRows]:
        """The rows of each source of a mixture, which follow one another; the rows themselves otherwise."""
        sides = [side.parts for side in self.sides.values()]
        return [PairRows(*part) for part in zip(*sides, strict=True)] if len(sides[0]) > 1 else (self,)


Rows = TokenRows | PairRows
PARTS = ("prompt", "chosen", "rejected")


def join_rows(parts: Sequence[Rows], examples: Sequence[int]) -> Rows:
    """The rows of several sources, which are all of one kind, as rows of one data set. `examples` are the numbers of their Examples."""
    pairs = [part for part in parts if isinstance(part, PairRows)]
    if pairs:
        return PairRows(*(JoinedRows([getattr(part, side) for part in pairs], examples) for side in PARTS))
    return JoinedRows([part for part in parts if isinstance(part, TokenRows)], examples)


class RowsBuilder:
    """Collects rows one by one into flat arrays."""

    def __init__(self) -> None:
        self._ids = array("i")  # at once, while what is to be copied is still in the processor's cache
        self._spans: list[Sequence[tuple[int, int]]] = []
        self._lengths: list[int] = []
        self._source: list[int] = []
        self._labels: list[bool] = []
        self._scores: list[Sequence[float]] = []

    def add(
        self,
        ids: Sequence[int],
        spans: Sequence[tuple[int, int]],
        source: int,
        label: bool | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        """Add a row whose tokens in `spans` are trained on."""
        if scores is not None:
            self._scores.append(scores)
        self._ids.fromlist(list(ids))
        self._spans.append(spans)
        self._lengths.append(len(ids))
        self._source.append(source)
        if label is not None:
            self._labels.append(label)

    def built(self) -> TokenRows:
        """All rows added so far."""
        import numpy

        offsets = numpy.zeros(len(self._lengths) + 1, dtype=numpy.int64)
        numpy.cumsum(self._lengths, out=offsets[1:])
        ids = numpy.frombuffer(self._ids, dtype=numpy.int32)
        loss_mask = numpy.zeros(len(ids), dtype=bool)
        for at, length, spans in zip(offsets.tolist(), self._lengths, self._spans, strict=False):
            for start, end in spans:
                loss_mask[at + start : at + min(end, length)] = True
        labels = numpy.array(self._labels, dtype=bool) if self._labels else None
        scores = numpy.array(self._scores, dtype=numpy.float64) if self._scores else None
        return TokenRows(ids, loss_mask, offsets, numpy.array(self._source, dtype=numpy.int64), labels, scores)


def cut_into_blocks(rows: TokenRows, length: int) -> TokenRows:
    """Rows joined end to end and cut into blocks of `length` tokens. No token is lost; the last block may be shorter."""
    import numpy

    total = len(rows.ids)
    offsets = (
        numpy.append(numpy.arange(0, total, length, dtype=numpy.int64), total)
        if total
        else numpy.zeros(1, dtype=numpy.int64)
    )
    first = numpy.searchsorted(rows.offsets, offsets[:-1], side="right") - 1
    return TokenRows(rows.ids, rows.loss_mask, offsets, rows.source[first])
