"""Short rows put together into longer ones."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotrain_llm.data.rows import JoinedRows, TokenRows
from autotrain_llm.data.tokenize.pack import pack, pack_rows


def one_by_one(lengths: list[int], limit: int) -> list[list[int]]:
    """Best-fit decreasing, row by row."""
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for row in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        at = bisect_left(room, (lengths[row], -1))
        free, group = room.pop(at) if at < len(room) else (limit, len(groups))
        if group == len(groups):
            groups.append([])
        groups[group].append(row)
        insort(room, (free - lengths[row], group))
    return sorted(sorted(group) for group in groups)


@given(st.integers(1, 40), st.lists(st.integers(0, 40), max_size=60))
def test_rows_of_one_length_are_placed_together_as_they_would_be_one_by_one(limit, lengths):
    lengths = [min(length, limit) for length in lengths]
    assert list(pack(lengths, limit)) == one_by_one(lengths, limit)


@pytest.mark.parametrize("limit", [64, 1024, 5000])
def test_many_rows_are_placed_as_they_would_be_one_by_one(limit):
    lengths = numpy.random.default_rng(limit).lognormal(4, 1, 3000).astype(int).clip(1, limit)
    packs = pack(lengths, limit)
    assert list(packs) == one_by_one(lengths.tolist(), limit)
    assert packs.first_rows.tolist() == [group[0] for group in packs]
    assert max(lengths[group].sum() for group in packs) <= limit


def test_rows_of_different_sources_are_never_in_one_pack():
    def source(*lengths: int) -> TokenRows:
        offsets = numpy.concatenate([[0], numpy.cumsum(lengths)])
        ids = numpy.zeros(offsets[-1], dtype=numpy.int32)
        return TokenRows(ids, ids > 0, offsets, numpy.arange(len(lengths)))

    rows = JoinedRows([source(1, 2, 1), source(1, 1)], [3, 2])
    assert list(pack_rows(rows, 4)) == [[0, 1, 2], [3, 4]]
    assert pack_rows(rows, 4)[0:2] == [[0, 1, 2], [3, 4]]


def test_the_trained_tokens_of_several_sources_are_those_of_each():
    rows = [TokenRows(numpy.array([3, 1, 3]), numpy.array([True, False, True]), numpy.array([0, 3]), numpy.array([0]))]
    rows.append(TokenRows(numpy.array([2, 1]), numpy.array([True, True]), numpy.array([0, 2]), numpy.array([0])))
    assert JoinedRows(rows, [1, 1]).trained_ids().tolist() == [1, 2, 3]
