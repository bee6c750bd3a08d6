"""Runs as processes of their own: started, stopped, resumed. They are the command line's, and go on when the server ends.

What a process writes to its terminal is kept beside the runs, in `runs/.app`: a run that was refused has no folder of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from autotrain_llm.app.folders import Folders, Outside
from autotrain_llm.app.runs import ENDING, FINISHING, RUNNING, STARTING, STOPPING, written_status
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.context.output_dir import LOCK_FILE, RUN_FILE
from autotrain_llm.context.pipeline_record import PIPELINE_FILE
from autotrain_llm.context.signals import STOPPING as STOP_SIGNALS
from autotrain_llm.context.signals import exit_status
from autotrain_llm.declare.document import mapping, parse_json

KEPT = Path("runs", ".app")
# What has become of a command that has written no run: it was refused, or stopped before it began to train, by its own handler or before it had one.
OF_STATUS = {
    2: "refused",
    **{code: "interrupted" for signum in STOP_SIGNALS for code in (exit_status(signum), -signum)},
}
MOST_OUTPUT = 16 * 1024  # bytes of the end of what a process wrote that are shown


class Launcher:
    """Starts commands in `home`. `program` are the words before those of `autotrain`."""

    def __init__(self, folders: Folders, program: Sequence[str] = (sys.executable, "-m", "autotrain_llm")) -> None:
        self.folders, self.program = folders, tuple(program)
        self._own: dict[Path, subprocess.Popen[bytes]] = {}

    def start(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], where: Path | None = None
    ) -> None:
        """Start `autotrain llm WORDS`, which writes to `folder`, in a session of its own. No shell sees a word."""
        log = self._kept(folder, ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self.program, "llm", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=where or self.folders.home,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **environment},
                start_new_session=True,
            )
        self._own[folder] = process
        self._keep(folder, {"folder": str(folder), "pid": process.pid, "started": time.time()})

    async def answer_of(self, words: Sequence[str]) -> dict[str, Any]:
        """The JSON document that a command of `autotrain` prints, in a process that goes on if nobody waits any more; empty if it printed none."""
        process = await asyncio.create_subprocess_exec(
            *self.program,
            *words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folders.home,
            start_new_session=True,
        )
        printed, _ = await process.communicate()
        try:
            return mapping(parse_json(printed.decode("utf-8", errors="replace")))
        except ValueError:
            return {}

    def process_of(self, folder: Path) -> int | None:
        """The process that writes to a folder, or was started to; None if there is none."""
        own = self._own.get(folder)
        if own is not None and own.poll() is None:
            return own.pid
        owner = owner_of_lock(folder / LOCK_FILE)
        if owner is not None and owner > 0:
            return owner
        return self._of_an_earlier_server(folder)

    def _of_an_earlier_server(self, folder: Path) -> int | None:
        """The process that an earlier server has started, if it is still that one: its words name the folder."""
        if folder in self._own:
            return None
        record = self._record(folder)
        pid = record.get("pid")
        if not isinstance(pid, int):
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        return pid if b"autotrain_llm" in words and folder.name.encode() in words else None

    def state_of(self, folder: Path) -> str | None:
        """What the process of a folder says of the run, where its files don't: it is starting, it was told to stop, it has ended its training and not yet all
        that follows, or it was refused. None if they do."""
        own, record = self._own.get(folder), self._record(folder)
        status = written_status(folder)
        if own is not None and own.poll() is not None and not status:
            return OF_STATUS.get(own.returncode, "failed")
        process = self.process_of(folder)
        if process is None:
            return "refused" if record and not status else None
        if record.get("stopping") == process:
            return STOPPING
        if not status or _written(folder) < float(record.get("started") or 0):
            return STARTING  # what is there is of the run before
        return None if status == RUNNING else ENDING.get(status, FINISHING)

    def stop(self, folder: Path, *, at_once: bool = False) -> bool:
        """Ask the process of a folder to save a checkpoint and end, or to end `at_once`, which a second signal means to it; False if there is none. To ask the
        first again changes nothing: another page may not know yet."""
        pid = self.process_of(folder)
        if pid is None:
            return False
        if self._record(folder).get("stopping") == pid and not at_once:
            return True
        try:
            self._signal(pid)
        except (ProcessLookupError, PermissionError):
            return False
        self._keep(folder, {**self._record(folder), "folder": str(folder), "stopping": pid})
        return True

    def _signal(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)

    def output_of(self, folder: Path) -> str:
        """The end of what the process of a folder wrote; empty if it was not started here."""
        try:
            with self._kept(folder, ".log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_OUTPUT))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def waiting(self) -> list[Path]:
        """The folders of processes that have not written a run yet, or were refused; the newest last."""
        found = []
        for path in (self.folders.home / KEPT).glob("*.json"):
            folder = Path(str(_read(path).get("folder", "")))
            with suppress(Outside):
                if self.folders.resolve(str(folder)) == folder and not (folder / RUN_FILE).exists():
                    found.append((path.stat().st_mtime, folder))
        return [folder for _, folder in sorted(found)]

    def forget(self, folder: Path) -> None:
        """Remove what is kept of a process that has ended."""
        for ending in (".json", ".log"):
            self._kept(folder, ending).unlink(missing_ok=True)
        self._own.pop(folder, None)

    def moved(self, folder: Path, target: Path) -> None:
        """A folder has another name: what is kept of its process goes with it."""
        record = self._record(folder)
        if record:
            self._keep(target, {**record, "folder": str(target)})
            with suppress(OSError):
                self._kept(folder, ".log").rename(self._kept(target, ".log"))
        self.forget(folder)

    def _keep(self, folder: Path, record: Mapping[str, Any]) -> None:
        path = self._kept(folder, ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")  # another request may be reading it
        unfinished.write_text(json.dumps(record), encoding="utf-8")
        unfinished.replace(path)

    def _record(self, folder: Path) -> dict[str, Any]:
        return _read(self._kept(folder, ".json"))

    def _kept(self, folder: Path, ending: str) -> Path:
        digest = sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return self.folders.home / KEPT / f"{folder.name[:60]}-{digest}{ending}"


def _written(folder: Path) -> float:
    """When the record in a folder was last written; 0 without one."""
    newest = 0.0
    for name in (RUN_FILE, PIPELINE_FILE):
        with suppress(OSError):
            newest = max(newest, (folder / name).stat().st_mtime)
    return newest


def _read(path: Path) -> dict[str, Any]:
    try:
        return mapping(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def words_to_resume(folder: Path, run: Mapping[str, Any]) -> list[str] | None:
    """The words that resume a run: those that were set when it was started, and `--resume`. None for the record of another version."""
    from autotrain_llm.planning.plan import Plan
    from autotrain_llm.run.artifacts.records import command_of

    try:
        words = command_of(Plan.from_json(run["plan"]), folder)
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return [*words[2:], "--resume"]


def started_in(folder: Path, folders: Folders) -> Path:
    """The folder in which a run was started, from which its relative paths are resolved, as command.sh has it."""
    mark = "# Run from: "
    with suppress(OSError, Outside):
        for line in (folder / "command.sh").read_text(encoding="utf-8", errors="replace").splitlines()[:3]:
            if line.startswith(mark):
                return folder_in(line.removeprefix(mark), folders)
    return folders.home


def folder_in(text: str | None, folders: Folders) -> Path:
    """The folder that a record names, if it is there and one of those of the app; else the first of these."""
    with suppress(OSError, Outside):
        if text and (where := folders.resolve(text)).is_dir():
            return where
    return folders.home
