"""The caches in `autotrain-llm/`: prepared rows, reference log-probabilities and those of teachers. Each entry is a file or a folder, made again where it is
missing; what nothing has used for long is removed, and the least recently used where all are too large."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

KINDS = ("rows", "references", "distillation")
MOST_BYTES = 20 * 2**30  # of all caches together
UNUSED_SECONDS = 30 * 24 * 3600  # after which an entry is removed
FRESH_SECONDS = (
    3600  # an entry may be about to be read: by the processes of a run that is starting, or by the run after a check
)


class Entry(NamedTuple):
    """A cache's file or folder, when it was last used, and its bytes."""

    path: Path
    used: float
    bytes: int


def mark_used(entry: Path) -> None:
    """Note that an entry was read. One that can't be changed, or is not there, is left as it is."""
    with suppress(OSError):
        os.utime(entry)


def tidy(folder: Path) -> None:
    """Remove entries of the caches in a folder: those that are unused, and the longest unused until the others have MOST_BYTES. Entries that are mapped by a
    running process stay readable to it."""
    now = time.time()
    entries = sorted((entry for kind in KINDS for entry in _entries(folder / kind)), key=lambda entry: entry.used)
    total = sum(entry.bytes for entry in entries)
    for entry in entries:
        unused = now - entry.used
        if unused < FRESH_SECONDS or (unused < UNUSED_SECONDS and total <= MOST_BYTES):
            return
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with suppress(OSError):
                entry.path.unlink()
        total -= entry.bytes


def _entries(folder: Path) -> list[Entry]:
    found = []
    with suppress(OSError):
        for each in os.scandir(folder):
            with suppress(OSError):  # another process has removed it
                own = each.stat(follow_symlinks=False)
                is_folder = each.is_dir(follow_symlinks=False)
                files = [file.stat(follow_symlinks=False) for file in os.scandir(each.path)] if is_folder else [own]
                found.append(Entry(Path(each.path), own.st_mtime, sum(file.st_size for file in files)))
    return found
