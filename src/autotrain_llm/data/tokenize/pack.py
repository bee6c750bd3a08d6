"""Put short rows together into longer ones: best-fit decreasing, so that few positions stay empty."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, overload

from autotrain_llm.data.rows import Rows

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Packs(Sequence[list[int]]):
    """Groups of row indices as flat arrays: group i is `rows[offsets[i]:offsets[i+1]]`, in ascending order."""

    rows: ndarray
    offsets: ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> list[int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[list[int]]: ...
    def __getitem__(self, at: int | slice) -> list[int] | list[list[int]]:
        if isinstance(at, slice):
            return [self[index] for index in range(len(self))[at]]
        index = range(len(self))[at]
        members: list[int] = self.rows[self.offsets[index] : self.offsets[index + 1]].tolist()
        return members

    @property
    def first_rows(self) -> ndarray:
        """The first row of each group."""
        return self.rows[self.offsets[:-1]]


def pack(lengths: Sequence[int] | ndarray, limit: int) -> Packs:
    """Groups of row numbers whose lengths add up to at most `limit`, each row in one group.

    Best-fit decreasing: rows from long to short, each into the fullest group that still has room, of several into the earliest. Rows are
    never cut; one that is as long as the limit is alone. Groups come in the order of their first row, rows inside a group likewise, so the
    result depends on nothing but the lengths.

    All rows of one length are placed together: the fullest groups take as many of them as fit, one group after the other, as if they came
    one by one. The time is that of sorting the rows, and of a step for each pair of a length and a room that it is placed into.
    """
    import numpy

    lengths = numpy.asarray(lengths, dtype=numpy.int64)
    order = numpy.argsort(-lengths, kind="stable")
    values, counts = numpy.unique(lengths, return_counts=True)
    group_of = numpy.empty(len(lengths), dtype=numpy.int64)
    rooms, groups, placed = _Rooms(int(values[0]) if len(values) else 0), 0, 0
    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = placed + count
        while placed < end:
            room = rooms.smallest_from(length)
            each = (end - placed) if not length else max((limit if room is None else room) // length, 1)
            needed = -(-(end - placed) // each)
            if room is None:
                room, own = limit, numpy.arange(groups, groups + needed)
                groups += needed
            else:
                own = rooms.take(room, needed)
            begin, placed = placed, min(end, placed + each * len(own))
            group_of[order[begin:placed]] = numpy.repeat(own, each)[: placed - begin]
            full, others = divmod(placed - begin, each)
            rooms.add(room - each * length, own[:full])
            rooms.add(room - others * length, own[full:])
    return _in_order(group_of, groups)


class _Rooms:
    """Groups by the positions that are left in them; those without room for the shortest row are not kept."""

    def __init__(self, shortest: int) -> None:
        self._shortest = shortest
        self._rooms: list[int] = []  # those that any group has, sorted
        self._groups: dict[int, list[ndarray]] = {}

    def smallest_from(self, length: int) -> int | None:
        """The smallest room of any group that is at least `length`; None if there is none."""
        at = bisect_left(self._rooms, length)
        return self._rooms[at] if at < len(self._rooms) else None

    def add(self, room: int, groups: ndarray) -> None:
        if not len(groups) or room < self._shortest:
            return
        if room not in self._groups:
            insort(self._rooms, room)
        self._groups.setdefault(room, []).append(groups)

    def take(self, room: int, most: int) -> ndarray:
        """The earliest groups with this room, `most` at most, which are then not kept here any more."""
        import numpy

        parts = self._groups.pop(room)
        groups = parts[0] if len(parts) == 1 else numpy.sort(numpy.concatenate(parts), kind="stable")
        if most < len(groups):
            self._groups[room] = [groups[most:]]
        else:
            self._rooms.remove(room)
        return groups[:most]


def _in_order(group_of: ndarray, groups: int) -> Packs:
    """The packs of rows whose groups are known, in the order of their first rows."""
    import numpy

    sizes = numpy.bincount(group_of, minlength=groups)
    first_rows = numpy.argsort(group_of, kind="stable")[numpy.cumsum(sizes) - sizes]
    sequence = numpy.argsort(first_rows)
    place = numpy.empty(groups, dtype=numpy.int64)
    place[sequence] = numpy.arange(groups)
    offsets = numpy.zeros(groups + 1, dtype=numpy.int64)
    numpy.cumsum(sizes[sequence], out=offsets[1:])
    return Packs(numpy.argsort(place[group_of], kind="stable"), offsets)


def pack_rows(rows: Rows, limit: int) -> Packs:
    """Packs of row indices; rows of different sources are never in one pack."""
    import numpy

    packs = [pack(part.lengths, limit) for part in rows.parts]
    rows_before = accumulate((len(part) for part in rows.parts), initial=0)
    members = [one.rows + start for one, start in zip(packs, rows_before, strict=False)]
    sizes = numpy.concatenate([numpy.diff(one.offsets) for one in packs])
    return Packs(numpy.concatenate(members), numpy.concatenate([[0], numpy.cumsum(sizes)]))
