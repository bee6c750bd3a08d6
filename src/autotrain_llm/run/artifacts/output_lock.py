"""The output folder while a run writes to it: locked, with an earlier run, or its later checkpoints, moved aside until this one is complete."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import (
    CHECKPOINT_NAME,
    CHECKPOINTS,
    LOCK_FILE,
    checkpoints_in,
    earlier_run,
    is_complete,
    step_of,
)
from autotrain_llm.context.signals import held_back
from autotrain_llm.declare.finding import Finding, Refused

# The files that a run of this program, or a library that it uses, writes at the top of its folder.
RUN_FILES = re.compile(
    r"""run\.json|metrics\.jsonl|command\.sh|README\.md|report\.html|samples\.jsonl|trained_rows\.json|value_head\.safetensors|best\.yaml|checkpoints|eval|sweep|logs
    |config\.json|generation_config\.json|prompt_format\.json|chat_template\.(jinja|json)
    |model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|adapter_(config\.json|model\.safetensors)
    |tokenizer(_config)?\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt
    |checkpoint-\d+|trainer_state\.json|training_args\.bin""",
    re.VERBOSE,
)
ASIDE = ".replaced-"
UNFINISHED = ".saving"
UNFINISHED_FILE = re.compile(r"\.(.+)\.\d+")


class OutputFolder:
    """A context manager: inside it no other run can write to the folder.

    A run that goes on from a checkpoint in this folder sets later ones aside: they would be the newest, and are of another run now.
    """

    def __init__(self, folder: Path, *, overwrite: bool, checkpoint: Path | None = None, leader: bool = True) -> None:
        self.path = folder
        self.overwrite = overwrite
        self.checkpoint = checkpoint
        self.leader = leader  # only one of several processes writes
        self.aside: Path | None = None
        self._created = False
        self._lock = FileLock(folder / LOCK_FILE)

    def __enter__(self) -> OutputFolder:
        if self.leader:
            self._created = not self.path.exists()
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                is_mine = self._acquire()
            except OSError as problem:
                message = f"--output-dir {self.path} can't be written: {problem.strerror or problem}"
                raise Refused([Finding(message, "another --output-dir", ("output_dir",), code="E403")]) from problem
            if not is_mine:
                message = f"--output-dir {self.path} is in use by another process"
                raise Refused([Finding(message, "another --output-dir, or wait", ("output_dir",), code="E404")])
            try:
                self._move_aside(self._run_files() if self.overwrite else self._later_checkpoints())
                if not self._lock.is_shared:
                    self._remove_leftovers()
            except OSError as problem:
                self._lock.release()
                message = f"{problem.filename or self.path}: {problem.strerror or problem}: the earlier run in {self.path} stays as it was"
                raise Refused([Finding(message, "another --output-dir", ("output_dir",), code="E403")]) from problem
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.leader:
            with held_back():
                self._leave(kind)

    def _leave(self, kind: type[BaseException] | None) -> None:
        """Tidy up and release the lock. Only the last process in the folder tidies: others may still write what looks left over."""
        if self._lock.make_exclusive():
            self._tidy(kind)
        self._lock.release()

    def _tidy(self, kind: type[BaseException] | None) -> None:
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        if kind is not None and not self.overwrite and self.aside is not None and not self._later_checkpoints():
            self._restore()
        elif kind is not None and self._is_empty():
            if self.aside is not None:
                self._restore()
            elif self._created:
                shutil.rmtree(self.path, ignore_errors=True)

    def _acquire(self) -> bool:
        """Lock the folder; False if another process writes to it."""
        if not self._lock.acquire(wait=False):
            return False
        self._lock.write_owner()
        return True

    def _remove_leftovers(self) -> None:
        """Remove what a killed process was writing (`.run.json.<process>`), and links in place of a run's files: what they lead to is not the
        run's, and must not be written to."""
        for entry in self.path.iterdir():
            match = UNFINISHED_FILE.fullmatch(entry.name)
            is_unfinished = match is not None and RUN_FILES.fullmatch(match[1]) is not None and entry.is_file()
            is_link = entry.is_symlink() and not entry.is_dir() and RUN_FILES.fullmatch(entry.name) is not None
            if is_unfinished or is_link:
                entry.unlink(missing_ok=True)

    def _run_files(self) -> list[Path]:
        """The files of an earlier run; others are never touched."""
        listed = set(earlier_run(self.path).get("files", []))
        return [entry for entry in self.path.iterdir() if RUN_FILES.fullmatch(entry.name) or entry.name in listed]

    def _later_checkpoints(self) -> list[Path]:
        """The checkpoints after the one that is resumed, if that is in this folder."""
        folder = self.path / CHECKPOINTS
        if self.checkpoint is None or self.checkpoint.resolve().parent != folder.resolve():
            return []
        step = step_of(self.checkpoint)
        return [entry for entry in folder.iterdir() if CHECKPOINT_NAME.match(entry.name) and step_of(entry) > step]

    def _move_aside(self, files: Sequence[Path]) -> None:
        if not files:
            return
        self.aside = self.path / f"{ASIDE}{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self.aside.mkdir()
        moved: list[Path] = []
        try:
            for entry in files:
                entry.rename(self.aside / entry.name)
                moved.append(entry)
        except OSError:
            for entry in moved:
                (self.aside / entry.name).rename(entry)
            self.aside.rmdir()
            self.aside = None
            raise

    def _restore(self) -> None:
        """Put the earlier run back: the new one left nothing."""
        assert self.aside is not None
        target = self.path if self.overwrite else self.path / CHECKPOINTS
        for entry in self._run_files() if self.overwrite else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for entry in self.aside.iterdir():
            entry.rename(target / entry.name)
        self.aside.rmdir()

    def _is_empty(self) -> bool:
        """Whether this run left neither a model nor a checkpoint that a run can go on from."""
        return not any(map(is_complete, checkpoints_in(self.path))) and not any(self.path.glob("*.safetensors"))

    def complete(self) -> None:
        """The run is complete: remove what was moved aside for it, and for the attempts before it."""
        for entry in self.path.glob(f"{ASIDE}*"):
            shutil.rmtree(entry, ignore_errors=True)
