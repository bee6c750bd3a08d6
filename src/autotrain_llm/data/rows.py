"""`TokenRows`: rows of token ids as flat arrays, for memory, cache and training."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray

ARRAYS = ("ids", "loss_mask", "offsets", "source", "labels")


@dataclass
class TokenRows:
    """Row i is `offsets[i]:offsets[i+1]` of `ids` (int32) and `loss_mask` (bool: the token is a target). `source` is the index of the
    Example that a row came from (for a block: of the first Example in it). `labels` are set only for rows that are labelled good or bad."""

    ids: ndarray
    loss_mask: ndarray
    offsets: ndarray
    source: ndarray
    labels: ndarray | None = None

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
        return TokenRows(self.ids[tokens], self.loss_mask[tokens], offsets, self.source[places], labels)

    def arrays(self) -> dict[str, ndarray]:
        """The arrays by name, for the cache."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}


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
        return PairRows(*(part.select(places) for part in (self.prompt, self.chosen, self.rejected)))


Rows = TokenRows | PairRows
PARTS = ("prompt", "chosen", "rejected")


class RowsBuilder:
    """Collects rows one by one into flat arrays."""

    def __init__(self) -> None:
        self._ids = array("i")  # at once, while what is to be copied is still in the processor's cache
        self._spans: list[Sequence[tuple[int, int]]] = []
        self._lengths: list[int] = []
        self._source: list[int] = []
        self._labels: list[bool] = []

    def add(self, ids: Sequence[int], spans: Sequence[tuple[int, int]], source: int, label: bool | None = None) -> None:
        """Add a row whose tokens in `spans` are trained on."""
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
        return TokenRows(ids, loss_mask, offsets, numpy.array(self._source, dtype=numpy.int64), labels)


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
