"""What passes between the process that starts others and these: an order, their progress, and how each has ended. Files in one folder, without secrets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import PreparedElsewhere
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import write_json

ORDER, EVENTS, STOP, LOGS = "order.json", "events", "stop", "logs"
PASSED_ON = frozenset({"stage", "note", "start", "step", "log", "finish"})  # methods of ProgressCallback


@dataclass(frozen=True)
class Order:
    """What the processes are to carry out."""

    plan: Plan
    findings: tuple[Finding, ...]
    prepared: PreparedElsewhere
    verbose: bool

    def write(self, folder: Path) -> None:
        document = {
            "plan": self.plan.as_json(),
            "findings": [finding.as_document() for finding in self.findings],
            "prepared": asdict(self.prepared),
            "verbose": self.verbose,
        }
        (folder / ORDER).write_text(json.dumps(document, default=list), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Order:
        document = parse_json((folder / ORDER).read_text(encoding="utf-8"))
        return cls(
            Plan.from_json(document["plan"]),
            tuple(map(Finding.of_document, document["findings"])),
            PreparedElsewhere.from_json(document["prepared"]),
            document["verbose"],
        )


# ---- progress: lines in a pipe, from the first process of each machine


class PassedOn(ProgressCallback):
    """Writes each call as a line, for the process that reads them. If that has ended, nothing is written."""

    def __init__(self, folder: Path) -> None:
        self._pipe = (folder / EVENTS).open("w", encoding="utf-8")

    def _write(self, *call: Any) -> None:
        with suppress(OSError):
            self._pipe.write(json.dumps(call) + "\n")
            self._pipe.flush()

    def stage(self, text: str) -> None:
        self._write("stage", text)

    def note(self, text: str) -> None:
        self._write("note", text)

    def start(self, steps: int, done: int) -> None:
        self._write("start", steps, done)

    def step(self, step: int) -> None:
        self._write("step", step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._write("log", step, dict(metrics))

    def finish(self) -> None:
        self._write("finish")


class Events:
    """The reading end: calls the methods of a ProgressCallback as the first process of this machine has called its own."""

    def __init__(self, folder: Path, watch: ProgressCallback) -> None:
        self._watch, self._text = watch, b""
        path = folder / EVENTS
        os.mkfifo(path, 0o600)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._kept_open = os.open(path, os.O_WRONLY)  # so that the end of one attempt isn't the end of the pipe

    def deliver(self) -> None:
        """Pass on what has arrived."""
        with suppress(BlockingIOError):
            while read := os.read(self.descriptor, 1 << 16):
                self._text += read
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            try:
                name, *arguments = json.loads(line)
            except (
                ValueError
            ):  # a process that was killed in the middle of a line, and the first line of the next attempt
                continue
            if name in PASSED_ON:
                getattr(self._watch, name)(*arguments)

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._kept_open)


# ---- how a process has ended


@dataclass(frozen=True)
class Outcome:
    """How a process has ended: ok, failed, refused, interrupted, or fault for an exception that nobody foresaw, with what belongs to it."""

    rank: int
    status: str
    time: float
    details: dict[str, Any]


def _outcome_file(folder: Path, rank: int) -> Path:
    return folder / f"outcome-{rank}.json"


def write_outcome(folder: Path, rank: int, status: str, **details: Any) -> None:
    document = {"rank": rank, "status": status, "time": time.time(), "details": details}
    write_json(_outcome_file(folder, rank), document)


def forget_outcome(folder: Path, rank: int) -> None:
    """Remove what this process's earlier attempt has left."""
    _outcome_file(folder, rank).unlink(missing_ok=True)


def outcomes(folder: Path) -> list[Outcome]:
    """Those that have ended by themselves, by rank."""
    paths = folder.glob("outcome-*.json")
    documents = [parse_json(path.read_text(encoding="utf-8")) for path in paths]
    return sorted((Outcome(**document) for document in documents), key=lambda outcome: outcome.rank)


# ---- the processes of this machine


def announce(folder: Path, local_rank: int) -> None:
    """Write this process's id where the one that started it looks for it."""
    path = folder / f"process-{local_rank}"
    unfinished = path.with_suffix(".new")
    unfinished.write_text(str(os.getpid()))
    unfinished.replace(path)


def announced(folder: Path) -> Iterator[int]:
    """The ids of the processes that were started."""
    for path in folder.glob("process-*"):
        with suppress(OSError, ValueError):
            yield int(path.read_text())
