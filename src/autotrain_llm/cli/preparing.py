"""How far reading and preparing rows is, where it takes longer than a moment: on a terminal's last line, elsewhere a line now and then."""

from __future__ import annotations

import time

from autotrain_llm.cli.terminal import is_terminal, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from autotrain_llm.cli.screen import Screen

A_MOMENT, EACH = 1.0, 0.2  # seconds before anything is said, and between two lines of a terminal
NOW_AND_THEN = 30.0  # seconds between two lines of a file


class Preparing:
    """Writes over one line of standard error, and takes it away at the end; where that is no terminal, lines that stay. Nothing with `--quiet`."""

    def __init__(self, screen: Screen) -> None:
        self._stream = screen.err
        self._speaks, self._over = not screen.quiet, is_terminal(screen.err)
        self._since = self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> Preparing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._over:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def progress(self, what: str, done: int, of: int) -> None:
        """`done` of so many rows; of how many is 0 where nobody knows."""
        now = time.monotonic()
        wait = EACH if self._over else NOW_AND_THEN
        if not self._speaks or now - self._since < A_MOMENT or now - self._last < wait:
            return
        self._last, self._shown = now, True
        rows = f"{done:,} of {of:,}" if of else f"{done:,}"
        line = f"{what}: {rows}"
        self._stream.write(f"\r\x1b[K{line}"[: width(self._stream)] if self._over else f"{line}\n")
        self._stream.flush()
