"""The file lock of output folders, of a sweep's study and records, and of trials in training."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

LOOKS, PAUSE = (
    5,
    0.01,
)  # who looks whether a lock is free holds it for a moment: it is tried that often, with so many seconds between


class FileLock:
    """An advisory lock (`flock`) on a lock file. The system releases it when the process ends, however it ends.

    The lock is reentrant: it must be released as often as it was acquired. As a context manager it is exclusive and waits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_shared = False
        self._descriptor = -1
        self._depth = 0

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Create the file and lock it. Returns False if another process holds the lock and `wait` is off."""
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        while not self._depth:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _lock(descriptor, mode):
                os.close(descriptor)
                return False
            if _is_same_file(descriptor, self.path):
                self._descriptor = descriptor
                self.is_shared = shared
                break
            os.close(
                descriptor
            )  # the previous owner has removed this file, and another process may have locked a new one
        self._depth += 1
        return True

    def write_owner(self) -> None:
        """Write this process's id into the file, so that a process that is refused can say who holds the lock."""
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def share(self) -> None:
        """Turn an exclusive lock into a shared one."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.is_shared = True

    def make_exclusive(self) -> bool:
        """Turn a shared lock into an exclusive one. Returns False if other processes share it: then this process has lost its own, and must release it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.is_shared = False
        return True

    def release(self) -> None:
        """Release the lock; the last process to do so removes the file."""
        self._depth -= 1
        if self._depth:
            return
        if self.make_exclusive():
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *details: object) -> None:
        self.release()


def _lock(descriptor: int, mode: int) -> bool:
    """Lock an open file; False if another process holds it for longer than a look takes."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(descriptor, mode)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return True
    return False


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def owner_of_lock(path: Path) -> int | None:
    """The id of the process that holds the lock, -1 if its file has no id; None if the lock is free. Changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
        return int(text) if text.isdigit() else -1
    else:
        return None
    finally:
        os.close(descriptor)
