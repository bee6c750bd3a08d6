"""A temporary folder is removed with its object, by a process that ends, and after a process that was killed by the next one."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from autotrain_llm.declare import temporary
from autotrain_llm.declare.temporary import TemporaryFolder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def made_by_another_process() -> int:
    """The id of a process that has made a temporary folder, and does nothing more."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        folder = TemporaryFolder("rows")
        (folder.path / "much.jsonl").write_text("{}\n")
        os.write(writer, b"made")
        signal.pause()
    os.close(writer)
    assert os.read(reader, 4) == b"made"
    os.close(reader)
    return process


def names(place: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in place.iterdir())


def test_a_folder_is_removed_with_the_last_reference_to_it(place):
    folder = TemporaryFolder("tokenizer")
    assert names(place) == ["autotrain-tokenizer"] and list(folder.path.iterdir()) == []
    del folder
    assert names(place) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else_is(place):
    temporary._remove_abandoned.cache_clear()
    (place / "autotrain-notes-of-mine").mkdir()
    killed, living = made_by_another_process(), made_by_another_process()
    try:
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
        assert names(place) == ["autotrain-notes-of", "autotrain-rows", "autotrain-rows"]
        temporary._remove_abandoned.cache_clear()
        folder = TemporaryFolder("planned")
        assert names(place) == ["autotrain-notes-of", "autotrain-planned", "autotrain-rows"] and folder.path.is_dir()
    finally:
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)


def test_a_fork_that_ends_leaves_the_folder_of_its_parent(place):
    folder = TemporaryFolder("rows")
    process = os.fork()
    if process == 0:
        folder._finalizer()
        os._exit(0)
    os.waitpid(process, 0)
    assert folder.path.is_dir()
