"""A command in a pseudo-terminal: its questions are answered one after another, and what the screen shows is returned."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

OVERWRITTEN = r"\r\x1b\[K[^\r\n\x1b]*"  # a line of progress, which a busy machine shows and another does not
PATIENCE = 240.0  # seconds without any output after which the command counts as stuck


def in_terminal(
    words: Sequence[str],
    answers: Sequence[tuple[str, str]],
    folder: Path,
    columns: int = 80,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """Run a command in a terminal of this width. `answers` are pairs of a text to wait for and a line to type. Returns what was on the screen,
    with the typed lines and without progress, and the exit status."""
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    variables |= {"NO_COLOR": "1", "TERM": "xterm", **(environment or {})}
    ends = {"stdin": other_end, "stdout": other_end, "stderr": other_end}
    process = subprocess.Popen(words, cwd=folder, env=variables, start_new_session=True, **ends)
    os.close(other_end)
    screen, answered = "", 0
    left = list(answers)
    while (text := _read(terminal)) is not None:
        screen += text
        if left and left[0][0] in screen[answered:]:
            answered = len(screen)
            os.write(terminal, (left.pop(0)[1] + "\n").encode())
    os.close(terminal)
    assert not left, f"never asked: {left[0][0]!r}\n{screen}"
    return re.sub(OVERWRITTEN, "", screen.replace("\r\n", "\n")), process.wait()


def _read(terminal: int) -> str | None:
    """What is new on the screen; None at the end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if ready:
            try:
                return os.read(terminal, 65536).decode(errors="replace") or None
            except OSError:  # Linux: the command has ended
                return None
    raise AssertionError("the command waits for something that was not typed")
