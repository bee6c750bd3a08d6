"""One command in a child process with limits of time and memory, so that a crash of any kind is seen and harms nothing."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS, BYTES = 20, 3 << 30  # of the processor, and of memory
WAITING = 120  # seconds at most, on a machine that has other work too
SECRET = "hf_abcdefghijklmnopqrst"


@dataclass(frozen=True)
class Outcome:
    """How a command ended: the exit status, or minus the signal; the document that it printed, and its messages."""

    status: int
    document: dict[str, Any] | None
    messages: str

    def fault(self) -> str | None:
        """What is wrong with it; None if it is an answer: done or refused, with findings that somebody foresaw."""
        if self.status == -signal.SIGXCPU:
            return f"took more than {SECONDS} seconds of the processor"
        if self.status == -signal.SIGALRM:
            return f"did not end within {WAITING} seconds"
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        if "Traceback" in self.messages:
            return "traceback: " + self.messages.strip().splitlines()[-1][:200]
        if self.document is None:
            return f"no document, status {self.status}: {self.messages.strip()[-200:]}"
        unforeseen = [
            finding["message"] for finding in self.document["findings"] if finding["code"] in ("R101", "R102")
        ]
        if unforeseen or self.status not in (0, 2):
            return f"status {self.status}: {unforeseen[:1]}"
        shown = json.dumps(self.document["findings"]) + self.messages
        if SECRET in shown:
            return "a secret is shown"
        if any(ord(char) < 0x20 and char not in "\n\t" for char in self.messages):
            return "a control character is shown"
        return None


def carry_out(words: Sequence[str], folder: Path) -> Outcome:
    """Run `autotrain` with these words in a fork of this process, in `folder`."""
    out, err = folder / ".out", folder / ".err"
    child = os.fork()
    if child == 0:
        _be_the_child(words, folder, out, err)
    _, status = os.waitpid(child, 0)
    messages = err.read_text(encoding="utf-8", errors="backslashreplace")
    try:
        document = json.loads(out.read_text(encoding="utf-8"))
    except ValueError:
        document = None
    return Outcome(os.waitstatus_to_exitcode(status), document, messages)


def _be_the_child(words: Sequence[str], folder: Path, out: Path, err: Path) -> None:
    """Never returns."""
    status = 70
    try:
        for path, descriptor in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        signal.alarm(WAITING)
        from autotrain_llm.cli.main import main

        status = main(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
