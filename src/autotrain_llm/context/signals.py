"""The signals that stop a run, and what they are called. SIGHUP is sent when a terminal or a connection is closed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

SIGHUP = getattr(signal, "SIGHUP", None)  # Windows has none
STOPPING = tuple(signum for signum in (signal.SIGINT, signal.SIGTERM, SIGHUP) if signum is not None)
EVENTS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated", SIGHUP: "Terminal closed"}


# Signals whose handlers have raised, with what they raised, until the context of the handler has ended.
_raised: list[tuple[int, BaseException]] = []


class Stopped(KeyboardInterrupt):
    """A signal before training, when there is nothing to save. Training installs its own handlers."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def event(signum: int) -> str:
    """`Terminated`: how a message begins that says why a run has stopped."""
    return EVENTS.get(signum, "Interrupted")


def exit_status(signum: int) -> int:
    """The exit status of a command that a signal has stopped, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + signum


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None], signals: tuple[int, ...] = STOPPING) -> Iterator[None]:
    """Handlers for these signals; a SIGHUP that is ignored stays ignored, as `nohup` has it. Does nothing outside of the main thread, where no
    handler can be installed.

    Python swallows what a handler raises while a destructor or the callback of a weak reference runs, and so does a library that catches everything while it
    is imported. The traceback that Python prints is left out here, and the signal is not lost: the next handlers that are installed inside these get it too.
    """
    before = {}
    earlier_ones = len(_raised)

    def remembered(signum: int, frame: FrameType | None) -> None:
        try:
            handler(signum, frame)
        except BaseException as stop:
            _raised.append((signum, stop))
            raise

    def unraisable(swallowed: sys.UnraisableHookArgs) -> None:
        if not any(swallowed.exc_value is stop for _, stop in _raised):
            shown(swallowed)

    shown, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        for signum in signals:
            # A shell lets its background jobs ignore SIGINT: one that is sent to them all the same is meant.
            if signum != SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
                before[signum] = signal.signal(signum, remembered)
    except ValueError:
        pass
    try:
        for signum in _swallowed():
            remembered(signum, None)
        yield
    finally:
        del _raised[earlier_ones:]
        for signum, earlier in before.items():
            signal.signal(signum, earlier)
        sys.unraisablehook = shown


def _swallowed() -> list[int]:
    """The signals whose exceptions have come to their end inside the context that they were to end: all but those that are being handled now."""
    handled_now: list[BaseException] = []
    fault = sys.exc_info()[1]
    while fault is not None and not any(fault is each for each in handled_now):
        handled_now.append(fault)
        fault = fault.__context__
    return [signum for signum, stop in _raised if not any(stop is each for each in handled_now)]


def held_back() -> AbstractContextManager[None]:
    """A context in which signals do not stop what puts a folder in order: it takes a moment, and half of it would be worse."""
    return handled(lambda signum, frame: None)


def stop_raises() -> AbstractContextManager[None]:
    """A context in which signals that stop a command raise Stopped, so that the JSON document is still written."""
    return handled(_stop)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped(signum)


def signal_of(stopped: KeyboardInterrupt) -> int:
    """The signal that has stopped a command. The end of the input of a question counts as Ctrl-C."""
    return stopped.signum if isinstance(stopped, Stopped) else signal.SIGINT
