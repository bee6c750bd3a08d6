"""`Collector`: the encoded parts of one split put together, in memory, or in memory-mapped files if they would fill it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from autotrain_llm.data.rows import OPTIONAL, PairRows, Rows, TokenRows, cut_into_blocks
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenize.truncate import EncodedRows

if TYPE_CHECKING:
    from numpy import ndarray


class Collector:
    """Collects the parts of one split in order. With a folder, ids and masks are written to files there."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name = folder, name
        self._sides: dict[str, _Side] = {}
        self._lengths: list[ndarray] = []
        self._places: list[ndarray] = []
        self.truncated = self.dropped = self.whole = self.ending = 0
        self.tokens = self.trained_tokens = 0

    def add(self, part: EncodedRows) -> None:
        """Append a part."""
        import numpy

        self._lengths.append(numpy.asarray(part.lengths, dtype=numpy.int64))
        self._places.append(numpy.asarray(part.places, dtype=numpy.int64))
        self.truncated += part.truncated
        self.dropped += part.dropped
        self.whole += part.whole
        self.ending += part.ending
        for name, rows in part.rows.sides.items():
            self.tokens += len(rows.ids)
            self.trained_tokens += int(rows.loss_mask.sum())
            if name not in self._sides:
                self._sides[name] = _Side(self._folder, f"{self._name}.{name}" if name else self._name)
            self._sides[name].add(rows)

    @property
    def lengths(self) -> ndarray:
        """The tokens of each example before truncation."""
        return _together(self._lengths)

    @property
    def places(self) -> ndarray:
        """The index of the example that each length belongs to."""
        return _together(self._places)

    def rows(self) -> Rows:
        """All rows that were added."""
        rows = [side.rows() for side in self._sides.values()]
        return PairRows(*rows) if len(rows) > 1 else rows[0]


def in_blocks(rows: Rows, preparation: Preparation) -> Rows:
    """Documents, joined and cut into blocks; rows of any other preparation as they are."""
    return cut_into_blocks(rows, preparation.max_length) if preparation.block and isinstance(rows, TokenRows) else rows


def _together(arrays: list[ndarray], kind: Any = "int64") -> ndarray:
    import numpy

    return numpy.concatenate(arrays) if arrays else numpy.zeros(0, dtype=kind)


class _Side:
    """The arrays of one `TokenRows` in the making."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._paths = None if folder is None else [folder / f"{name}.{part}" for part in ("ids", "loss_mask")]
        self._files: list[BinaryIO] = [path.open("wb") for path in self._paths or ()]
        self._ids: list[ndarray] = []
        self._loss_mask: list[ndarray] = []
        self._lengths: list[ndarray] = []
        self._source: list[ndarray] = []
        self._optional: dict[str, list[ndarray]] = {name: [] for name in OPTIONAL}

    def add(self, rows: TokenRows) -> None:
        self._lengths.append(rows.lengths)
        self._source.append(rows.source)
        for name, arrays in self._optional.items():
            array = getattr(rows, name)
            if array is not None:
                arrays.append(array)
        if self._files:
            for file, array in zip(self._files, (rows.ids, rows.loss_mask), strict=True):
                array.tofile(file)
        else:
            self._ids.append(rows.ids)
            self._loss_mask.append(rows.loss_mask)

    def rows(self) -> TokenRows:
        import numpy

        lengths = _together(self._lengths)
        offsets = numpy.zeros(len(lengths) + 1, dtype=numpy.int64)
        numpy.cumsum(lengths, out=offsets[1:])
        ids, loss_mask = self._arrays()
        optional = {name: _together(arrays) for name, arrays in self._optional.items() if arrays}
        return TokenRows(ids, loss_mask, offsets, _together(self._source), **optional)

    def _arrays(self) -> tuple[ndarray, ndarray]:
        import numpy

        if self._paths is None:
            return _together(self._ids, "int32"), _together(self._loss_mask, "bool")
        for file in self._files:
            file.close()
        kinds = zip(self._paths, ("int32", "bool"), strict=True)
        # An empty file can't be mapped.
        ids, loss_mask = (
            numpy.memmap(path, kind, mode="r") if path.stat().st_size else numpy.zeros(0, dtype=kind)
            for path, kind in kinds
        )
        return ids, loss_mask
