"""The folder of a sweep: held by all its processes together and by nobody else, and what they write in it one after the other."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotrain_llm.context.output_dir import LOCK_FILE, SWEEP, earlier_sweep
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.run.artifacts.output_lock import OutputFolder

WRITING = ".writing"  # locked by the process that asks for a trial or writes records
SECONDS_TO_JOIN = 20  # while the process that came first puts an earlier run aside and writes what the sweep is


class SweepFolder(OutputFolder):
    """A context manager as `OutputFolder`, which further processes of the same study may enter."""

    def __init__(self, folder: Path, *, overwrite: bool, study: str, may_join: bool) -> None:
        super().__init__(folder, overwrite=overwrite)
        self.study, self.may_join = study, may_join

    def __enter__(self) -> SweepFolder:
        super().__enter__()
        (self.path / SWEEP).mkdir(exist_ok=True)
        return self

    def begun(self) -> None:
        """The folder says what sweep it holds: others may come in."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _take_lock(self) -> None:
        try:
            super()._take_lock()
        except Refused:
            if not self.may_join or not self._joins():
                raise

    def _joins(self) -> bool:
        """Whether the sweep that others hold the folder for is this one; takes part in their lock."""
        until = time.monotonic() + SECONDS_TO_JOIN
        while time.monotonic() < until:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                time.sleep(0.1)
                continue
            if is_at(descriptor, self.path / LOCK_FILE) and earlier_sweep(self.path) == self.study:
                self._lock, self.overwrite = descriptor, False
                return True
            os.close(descriptor)
            time.sleep(0.1)
        return False

    def _release_lock(self) -> None:
        """The last one takes the lock's file away."""
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
        else:
            (self.path / SWEEP / WRITING).unlink(missing_ok=True)
            super()._release_lock()

    def _holds_nothing(self) -> bool:
        return super()._holds_nothing() and not any((self.path / SWEEP).glob("trial-*"))


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that lies there."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside it, no other process is inside it for the same path."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Claim:
    """That this process works on something: a locked file, which the system lets go of when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_claimed(path: Path) -> bool:
    """Whether a running process holds the claim."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def refused(message: str, fix: str | None, *parameters: str, code: str) -> Refused:
    """What only turns up when a sweep begins."""
    return Refused([Finding(message, fix, parameters, code=code)])
