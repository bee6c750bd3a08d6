"""Examples on disk, for data larger than memory: written once while they are converted, and read again row by row.

Their folder is removed with the last object that needs it.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, overload

from autotrain_llm.data.example import Example
from autotrain_llm.declare.temporary import TemporaryFolder

if TYPE_CHECKING:
    from numpy import ndarray

FIELDS = tuple(field.name for field in fields(Example) if not field.name.startswith("_"))
AT_ONCE = 500  # rows that are read together
FILE = "examples.jsonl"


class DiskExamplesWriter:
    """Writes Examples to disk one by one; `stored` returns them as a sequence."""

    def __init__(self) -> None:
        self._folder = TemporaryFolder("examples")
        self._file = (self._folder.path / FILE).open("wb")
        self._offsets, self._keys = array("q", [0]), array("Q")

    def add(self, example: Example) -> None:
        """Append an example."""
        row = [getattr(example, name) for name in FIELDS]
        written = json.dumps(row, default=str).encode("ascii") + b"\n"
        self._file.write(written)
        self._offsets.append(self._offsets[-1] + len(written))
        self._keys.append(short_key(example))

    def stored(self) -> DiskExamples:
        """All examples that were added."""
        import numpy

        self._file.close()
        offsets = numpy.frombuffer(self._offsets, dtype=numpy.int64)
        keys = numpy.frombuffer(self._keys, dtype=numpy.uint64)
        return DiskExamples(self._folder, offsets, keys, numpy.arange(len(keys)))


class DiskExamples(Sequence[Example]):
    """Examples in a file. Each access makes a new object, so changes to one are not kept."""

    def __init__(self, folder: TemporaryFolder, offsets: ndarray, keys: ndarray, indices: ndarray) -> None:
        self.folder, self._offsets, self._keys, self.indices = folder, offsets, keys, indices
        self._file = os.open(folder.path / FILE, os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self._file)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return self._read(self.indices[at])
        return self._read(self.indices[at].reshape(1))[0]

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), AT_ONCE):
            yield from self._read(self.indices[start : start + AT_ONCE])

    def _read(self, indices: ndarray) -> list[Example]:
        """The examples with these indices; adjacent ones are read with one call."""
        if not len(indices):
            return []
        first, last = int(indices[0]), int(indices[-1])
        if last - first == len(indices) - 1:
            begin, end = int(self._offsets[first]), int(self._offsets[last + 1])
            return [_read(line) for line in os.pread(self._file, end - begin, begin).decode("ascii").splitlines()]
        places = zip(self._offsets[indices].tolist(), self._offsets[indices + 1].tolist(), strict=True)
        return [_read(os.pread(self._file, end - begin, begin).decode("ascii")) for begin, end in places]

    @property
    def keys(self) -> ndarray:
        """`short_key` of each."""
        return self._keys[self.indices]

    def select(self, places: ndarray) -> DiskExamples:
        """The examples at these indices, which are in ascending order."""
        return DiskExamples(self.folder, self._offsets, self._keys, self.indices[places])


class ExamplesView(Sequence[Example]):
    """Examples that are taken from others when they are asked for: a subclass has their number, and `example` for the one at an index."""

    @abstractmethod
    def example(self, index: int) -> Example:
        """The example at an index from 0 on."""

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        if isinstance(at, slice):
            return [self.example(index) for index in range(len(self))[at]]
        return self.example(range(len(self))[at])


class TransformedExamples(ExamplesView):
    """Examples on disk, each transformed in the same way when it is read."""

    def __init__(self, rows: Sequence[Example], change: Callable[[Example], Example]) -> None:
        self._rows, self._change = rows, change

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        return self._change(self._rows[index])

    def __iter__(self) -> Iterator[Example]:
        return map(self._change, self._rows)


def _read(line: str) -> Example:
    """What `DiskExamplesWriter` wrote as one line."""
    values: list[Any] = json.loads(line)
    return Example(*values)


def short_key(example: Example) -> int:
    """64 bits of `Example.key`: of ten million rows two that differ have the same with a probability of 3 in a million."""
    return int.from_bytes(example.key()[:8], "little")


def keys_of(rows: Sequence[Example]) -> ndarray:
    """`short_key` of each row."""
    import numpy

    if isinstance(rows, DiskExamples):
        return rows.keys
    return numpy.fromiter((short_key(row) for row in rows), dtype=numpy.uint64, count=len(rows))


def select_rows(rows: Sequence[Example], places: ndarray) -> Sequence[Example]:
    """The rows at these indices, in memory or on disk as they are."""
    return rows.select(places) if isinstance(rows, DiskExamples) else [rows[at] for at in places.tolist()]
