"""What a process uses of the streams of a run that was begun by another number of processes."""

from __future__ import annotations

import pytest

from autotrain_llm.run.engine.streaming import Slice, slices_of


def test_as_many_processes_as_streams_have_one_each():
    assert [slices_of(process, 3, 3, 12) for process in range(3)] == [[Slice(process, 0, 4)] for process in range(3)]


def test_one_process_uses_all_streams_one_after_the_other():
    assert slices_of(0, 1, 2, 8) == [Slice(0, 0, 4), Slice(1, 0, 4)]


@pytest.mark.parametrize(("processes", "streams", "items"), [(4, 2, 16), (3, 2, 12), (2, 3, 12), (6, 4, 24)])
def test_each_item_of_a_step_is_used_by_one_process(processes: int, streams: int, items: int):
    used = [
        (part.stream, item)
        for process in range(processes)
        for part in slices_of(process, processes, streams, items)
        for item in range(part.first, part.last)
    ]
    assert used == [(stream, item) for stream in range(streams) for item in range(items // streams)]
