"""Processes that answer orders: one line of JSON to their standard input, lines of JSON from their standard output, of which the last has `end`.

They end when their standard input does, so that none is left when the server has ended, however that was.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST_LINE = 64 * 2**20
MOST_CHECKS = 3  # processes of checks that are kept, one for each form that is open


class Ended(Exception):
    """The process has ended before its answer had: it was stopped, or it failed."""


class Worker:
    """A process of `python -m autotrain_llm.app KIND`, started with the first order."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.name = secrets.token_hex(8)  # of this process, for a page that asks it again
        self.is_busy = False
        self._owed = 0  # answers whose rest nobody has read
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "autotrain_llm.app", self.kind),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=self.folder,
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C in the terminal is for the server
            )

    async def ask(self, order: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Give an order, and yield the parts of its answer. Raises Ended."""
        await self.start()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        self.is_busy = True
        self._owed += 1
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            with suppress(ConnectionError):
                await process.stdin.drain()
            while self._owed:
                line = await process.stdout.readline()
                if not line.endswith(b"\n"):
                    raise Ended(self.kind)
                part: dict[str, Any] = json.loads(line)
                is_mine = self._owed == 1
                self._owed -= bool(part.get("end"))
                if is_mine:
                    yield part
        finally:
            self.is_busy = False

    async def answer(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to an order that has one part. Raises Ended."""
        parts = [part async for part in self.ask(order)]
        return parts[-1]

    def interrupt(self) -> None:
        """Let it end the answer that it is giving."""
        if self._process is not None and self._process.returncode is None and self.is_busy:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """End the process at once. It has nothing to save."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """The same, and wait until it has ended."""
        self.stop()
        if self._process is not None:
            await self._process.wait()


class Checks:
    """The processes that check forms. A form that changes while it is checked is checked from the beginning, in a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._of_forms: dict[str, Worker] = {}
        self._spare: Worker | None = None

    async def check(self, form: str, order: Mapping[str, Any]) -> dict[str, Any]:
        """The document of `FileCheck.check`. Raises Ended if a later check of the same form has taken its place."""
        worker = self._of_forms.pop(form, None)
        if worker is None or worker.is_busy:
            if worker is not None:
                worker.stop()
            worker, self._spare = self._spare or Worker("check", self.folder), None
        self._of_forms[form] = worker  # the last used is the last
        while len(self._of_forms) > MOST_CHECKS:
            self._of_forms.pop(next(iter(self._of_forms))).stop()
        try:
            return await worker.answer(order)
        except Ended:
            if self._of_forms.get(form) is worker:
                del self._of_forms[form]
            raise
        finally:
            await self.prepare()

    async def prepare(self) -> None:
        """Start a process that the next check finds ready."""
        if self._spare is None:
            self._spare = Worker("check", self.folder)
            await self._spare.start()

    async def close(self) -> None:
        for worker in (*self._of_forms.values(), *([self._spare] if self._spare else [])):
            await worker.close()
