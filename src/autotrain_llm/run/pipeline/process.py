"""One stage in a process of its own.

The process gives back all memory when it ends, of every library and of the GPU, a stage that is killed or crashes takes no other with it, and
each stage begins with the random numbers and settings of a new process, so that it ends with the same weights as the same run by itself.
Standard error is the parent's, for progress. The order goes to the child's standard input, one line of JSON, and its outcome comes from its
standard output, one document as `--format json` has it. The child has a process group of its own: Ctrl-C in a terminal reaches the parent
alone, which passes it on once. Its standard input stays open while the parent lives; when that ends, the child saves a checkpoint and ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

from autotrain_llm.context.signals import STOPPING, handled
from autotrain_llm.run.failures import Interrupted

COMMAND = "stage-process"
STOPPED = "Stopped between two stages."


class StageProcesses:
    """A context manager in which stages are run one after the other; signals to this process are passed on to the one that is running."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._handled = handled(self._receive)

    def __enter__(self) -> StageProcesses:
        self._handled.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled.__exit__(None, None, None)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum  # between two stages, the next one is not begun
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signum)

    def run(self, order: Mapping[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """Run a stage: the exit status, negative for a signal that killed it, and its document; None if it ended without one. Raises Interrupted if a signal
        came before."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # the child takes it over until it can handle them
        try:
            if self.received is not None:
                raise Interrupted(self.received, STOPPED)
            self._child = subprocess.Popen(
                [sys.executable, "-m", "autotrain_llm", COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            with self._child as child:
                assert child.stdin is not None and child.stdout is not None
                try:
                    child.stdin.write(json.dumps(order, default=list).encode() + b"\n")
                    child.stdin.flush()
                except BrokenPipeError:
                    pass  # it has ended already: its status says how
                written = child.stdout.read()
                status = child.wait()
        finally:
            self._child = None
        return status, _document(written)


def _document(written: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(written)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def end_with_parent() -> None:
    """End this process like a SIGTERM does, with a checkpoint, when the parent ends: then standard input is closed."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
