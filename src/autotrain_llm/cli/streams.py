"""Standard output and standard error that a run survives: what can't be written is dropped, and the first failure is kept."""

from __future__ import annotations

import errno
import io
import os
import sys


class SurvivingFile(io.FileIO):
    """An open file descriptor whose writes never raise.

    A reader that has exited (EPIPE), a full disk (ENOSPC) or a terminal that was closed (EIO) must not end hours of training. After the first
    failure, `failure`, nothing more is written.
    """

    failure: OSError | None = None

    def write(self, content: object) -> int:
        data = memoryview(content).cast("B")  # type: ignore[arg-type]
        written = 0
        while self.failure is None and written < len(data):
            try:
                part = super().write(data[written:])
            except OSError as failure:
                self.failure = failure
                break
            if part is None:  # a descriptor that doesn't block, and whose reader is slow
                _wait_until_writable(self.fileno())
            else:
                written += part
        return len(data)


def _wait_until_writable(descriptor: int) -> None:
    import select

    select.select([], [descriptor], [])


def surviving(descriptor: int) -> io.TextIOWrapper:
    """A text stream on a descriptor. Characters that its encoding lacks are escaped."""
    raw = SurvivingFile(descriptor, "w", closefd=False)
    buffered = io.BufferedWriter(raw)
    encoding = getattr(sys.__stdout__ if descriptor == 1 else sys.__stderr__, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        buffered,
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=raw.isatty(),
        write_through=descriptor == 2,
    )


def install() -> None:
    """Replace the standard streams of this process, unless a test or a notebook has done so already.

    A closed descriptor (`>&-`) is opened on the null device first: else the next file that is opened, a checkpoint perhaps, would take its
    number and receive what is printed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is sys.__stdout__ and not is_surviving(sys.stdout):
        sys.stdout = surviving(1)
    if sys.stderr is sys.__stderr__ and not is_surviving(sys.stderr):
        sys.stderr = surviving(2)


def is_surviving(stream: object) -> bool:
    return isinstance(getattr(getattr(stream, "buffer", None), "raw", None), SurvivingFile)


def failure_of(stream: object) -> OSError | None:
    """Why output was lost; None where nothing was, and where the reader itself has gone, which wants no more of it."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, SurvivingFile) else None
    return None if failure is None or failure.errno == errno.EPIPE else failure


def write_beside(stream: object, descriptor: int, content: bytes) -> None:
    """Write to a copy of a stream's descriptor; a failure counts as the stream's own."""
    copy = SurvivingFile(descriptor, "w", closefd=False)
    copy.write(content)
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, SurvivingFile):
        raw.failure = raw.failure or copy.failure
