"""Temporary folders that nothing leaves behind: each is locked while its process lives, and one whose process was killed is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from functools import cache
from pathlib import Path

PREFIX = "autotrain-"
LOCK, FILES = "lock", "files"


class TemporaryFolder:
    """An empty folder, `path`, that is removed with the last reference to this object, or when the process ends. `purpose` is a part of its name.

    A process that is killed removes nothing: the system releases its lock, and the next process that makes a temporary folder removes those
    that nobody holds.
    """

    def __init__(self, purpose: str) -> None:
        _remove_abandoned(tempfile.gettempdir())
        home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
        self.path = home / FILES
        self.path.mkdir()
        # Locked before it has its name: a lock of this name that can be taken is one that was released.
        unnamed = home / f".{LOCK}"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(home / LOCK)
        self._finalizer = weakref.finalize(self, _remove, home, descriptor, os.getpid())


def _remove(home: Path, descriptor: int, owner: int) -> None:
    if os.getpid() == owner:  # a fork of the process ends before it
        shutil.rmtree(home, ignore_errors=True)
        os.close(descriptor)


@cache  # once in a process
def _remove_abandoned(folder: str) -> None:
    """Remove the temporary folders of this user's processes that were killed."""
    for home in Path(folder).glob(f"{PREFIX}*-*"):
        try:
            if home.stat(follow_symlinks=False).st_uid == os.getuid() and _is_abandoned(home / LOCK):
                shutil.rmtree(home, ignore_errors=True)
        except OSError:
            pass  # another process is removing it


def _is_abandoned(lock: Path) -> bool:
    """Whether a lock file is there that no process holds."""
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
