"""How far reading and preparing rows is, on a terminal's last line, where it takes longer than a moment."""

from __future__ import annotations

import time

from autotrain_llm.cli.terminal import is_terminal, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from autotrain_llm.cli.screen import Screen

A_MOMENT, EACH = 1.0, 0.2  # seconds before anything is said, and between two lines


class Preparing:
    """Writes over one line of standard error, and takes it away at the end. Nothing where that is no terminal, or with `--quiet`."""

    def __init__(self, screen: Screen) -> None:
        self._stream = screen.err
        self._speaks = is_terminal(screen.err) and not screen.quiet
        self._since = self._last = time.monotonic()
        self._shown = False

    def __enter__(self) -> Preparing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def progress(self, what: str, done: int, of: int) -> None:
        """`done` of so many rows; of how many is 0 where nobody knows."""
        now = time.monotonic()
        if not self._speaks or now - self._since < A_MOMENT or now - self._last < EACH:
            return
        self._last, self._shown = now, True
        rows = f"{done:,} of {of:,}" if of else f"{done:,}"
        self._stream.write(f"\r\x1b[K{what}: {rows}"[: width(self._stream)])
        self._stream.flush()
