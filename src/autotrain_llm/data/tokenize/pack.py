"""Put short rows together into longer ones: best-fit decreasing, so that few positions stay empty."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from autotrain_llm.data.rows import Rows


def pack(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Groups of row numbers whose lengths add up to at most `limit`, each row in one group.

    Best-fit decreasing: rows from long to short, each into the fullest group that still has room. Rows are never cut; one that is as
    long as the limit is alone. Groups come in the order of their first row, rows inside a group likewise, so the result depends on
    nothing but the lengths.
    """
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (positions left, group), sorted
    for row in sorted(range(len(lengths)), key=lambda index: (-int(lengths[index]), index)):
        length = int(lengths[row])
        at = bisect_left(room, (length, -1))
        if at < len(room):
            free, group = room.pop(at)
            groups[group].append(row)
        else:
            free, group = limit, len(groups)
            groups.append([row])
        insort(room, (free - length, group))
    return sorted(sorted(group) for group in groups)


def pack_rows(rows: Rows, limit: int) -> list[list[int]]:
    """Packs of row indices; rows of different sources are never in one pack."""
    packs, start = [], 0
    for part in rows.parts:
        packs += [[start + index for index in group] for group in pack(part.lengths.tolist(), limit)]
        start += len(part)
    return packs
