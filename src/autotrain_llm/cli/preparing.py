"""Progress of reading and preparing rows: on a terminal's last line, elsewhere a line every 30 seconds; nothing in the first second."""

from __future__ import annotations

import time

from autotrain_llm.cli.terminal import is_terminal, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from autotrain_llm.cli.screen import Screen

START_AFTER = 1.0  # seconds before the first line
TERMINAL_INTERVAL, FILE_INTERVAL = 0.2, 30.0  # seconds between two lines


class Preparing:
    """Overwrites one line of a terminal and removes it at the end; elsewhere prints lines. Nothing with `--quiet`."""

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
        """Report that `done` of `of` rows are ready; `of` is 0 if the number of rows is not known."""
        now = time.monotonic()
        wait = TERMINAL_INTERVAL if self._over else FILE_INTERVAL
        if not self._speaks or now - self._since < START_AFTER or now - self._last < wait:
            return
        self._last, self._shown = now, True
        rows = f"{done:,} of {of:,}" if of else f"{done:,}"
        line = f"{what}: {rows}"
        self._stream.write(f"\r\x1b[K{line}"[: width(self._stream)] if self._over else f"{line}\n")
        self._stream.flush()
