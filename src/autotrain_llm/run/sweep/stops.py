"""Signals that stop a sweep: at once where nothing is left half done, else at the next point where that is so."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from autotrain_llm.context.signals import STOPPING, handled
from autotrain_llm.run.failures import Interrupted


class Stops:
    """A context manager in which signals raise Interrupted: inside `at_once`, in `pause` and in `check`, and the second one anywhere.

    During a trial the run has handlers of its own. One that comes in the last step of a run changes nothing any more there; it must still stop the sweep, so
    the interpreter writes every signal to a pipe too, whoever handles it.
    """

    def __init__(self) -> None:
        self._is_at_once = False
        self._again = False
        self._reader = self._writer = -1
        self._opened = ExitStack()

    def __enter__(self) -> Stops:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
            self._opened.callback(os.close, end)
        with suppress(ValueError):  # outside of the main thread there are no signals
            before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._opened.callback(signal.set_wakeup_fd, before)
        self._opened.enter_context(handled(self._receive))
        return self

    def __exit__(self, *details: object) -> None:
        self._opened.close()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if frame is None:  # it came before this context, and was swallowed there: the interpreter has not written it
            os.write(self._writer, bytes([signum]))
        if self._is_at_once or self._again:
            raise Interrupted(signum, "Interrupted between trials")
        self._again = True

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        received: list[int] = []
        with suppress(BlockingIOError):
            received = [signum for signum in os.read(self._reader, 4096) if signum in STOPPING]
        if received:
            raise Interrupted(received[-1], "Interrupted between trials")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What can be left at any point."""
        self._is_at_once = True
        try:
            self.check()
            yield
        finally:
            self._is_at_once = False

    def pause(self, seconds: float) -> None:
        """Wait, unless a signal comes. Inside a trial it is the run's own handlers that decide."""
        if self._is_at_once:
            time.sleep(seconds)
        else:
            with self.at_once():
                time.sleep(seconds)
