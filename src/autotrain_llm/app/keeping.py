"""Runs and uploaded files are removed and renamed here, and nowhere else in the app: what a run has written, never what is its user's own, never while
a process writes it, and nothing that is not in the folders that the app was started with."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autotrain_llm.app.folders import UPLOADS, Folders
from autotrain_llm.app.runs import run_document
from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import LOCK_FILE, RUN_FILE, checkpoints_in
from autotrain_llm.context.pipeline_record import PIPELINE_FILE, read_record
from autotrain_llm.declare.document import mapping, parse_json
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import plural, show_bytes
from autotrain_llm.models.locate import ADAPTER_CONFIG

PART, DAY = ".part", 24 * 3600  # the ending of a file that is being uploaded, and seconds
NAME = re.compile(r"\w[\w.-]{0,99}")


class Kept(Exception):
    """Nothing was removed or renamed; the message says why."""


@dataclass(frozen=True)
class Upload:
    """A file of rows in `uploads/`; `used_by` are the runs whose rows it has, as shown."""

    path: Path
    bytes: int
    modified: float
    used_by: tuple[str, ...]


def uploads(folders: Folders, runs: Iterable[Path]) -> list[Upload]:
    """The files in `uploads/`, the newest first. Links and folders are none of the app's."""
    used: dict[Path, list[str]] = {}
    for run in runs:
        data = mapping(mapping(run_document(run).get("plan")).get("data")).get("path")
        if isinstance(data, str):
            used.setdefault(_resolved(folders.home / data), []).append(folders.shown(run))
    found = []
    try:
        entries = list(os.scandir(folders.home / UPLOADS))
    except OSError:
        entries = []
    for entry in entries:
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
            stat, path = entry.stat(follow_symlinks=False), Path(entry.path)
            found.append(Upload(path, stat.st_size, stat.st_mtime, tuple(used.get(_resolved(path), ()))))
    return sorted(found, key=lambda upload: upload.modified, reverse=True)


def _resolved(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError):
        return path


def upload_named(folders: Folders, name: str) -> Path:
    """The path of an uploaded file. Raises Kept if it is not there."""
    path = folders.home / UPLOADS / name
    if Path(name).name != name or path.is_symlink() or not path.is_file():
        raise Kept(f"{UPLOADS}/{name} is not there.")
    return path


def rename_upload(folders: Folders, path: Path, name: str) -> Path:
    """Give an uploaded file another name, with the ending that it has. Raises Kept, Outside or OSError."""
    target = _beside(path, name if name.endswith(path.suffix) else name + path.suffix)
    move(path, target)
    return target


def move(path: Path, target: Path) -> None:
    """Give a file another name, never in place of another file, not even of one that is just being made. Raises FileExistsError and OSError."""
    try:
        os.link(path, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a disk that has no links
        if os.path.lexists(target):
            raise FileExistsError(f"{target.name} is there already") from None
        path.rename(target)
    else:
        path.unlink()


def remove_abandoned(folder: Path) -> None:
    """Remove what was left of uploads whose server was killed, after a day."""
    for part in folder.glob(f".*{PART}"):
        with suppress(OSError):
            if time.time() - part.stat(follow_symlinks=False).st_mtime > DAY:
                part.unlink()


def _beside(path: Path, name: str) -> Path:
    """A path of this name beside another one. Raises Kept for what is no name, or is there already."""
    if not NAME.fullmatch(name):
        raise Kept(f"{name!r} is not a name: it has to be letters, digits, dots, hyphens and underscores.")
    target = path.with_name(name)
    if os.path.lexists(target):
        raise Kept(f"{name} is there already.")
    return target


# ---- runs


@dataclass(frozen=True)
class Removal:
    """What the removal of a run removes and leaves: the question that is asked before."""

    shown: str
    bytes: int
    checkpoints: int
    left: tuple[str, ...]  # names of what the run has not written, which stays
    followers: tuple[str, ...]  # runs that were trained from it, as shown

    def in_words(self) -> str:
        has = f", with {plural(self.checkpoints, 'checkpoint')}" if self.checkpoints else ""
        words = [f"Remove {self.shown} from the disk? {show_bytes(self.bytes)}{has}. It can't be had back."]
        if self.followers:
            words.append(f"Trained from it: {', '.join(self.followers)}. An adapter can't be used without it.")
        if self.left:
            words.append(f"What the run has not written stays: {', '.join(self.left)}.")
        return "\n\n".join(words)


def removal_of(folders: Folders, folder: Path, runs: Iterable[Path]) -> Removal:
    """What would be removed. Raises Kept for a folder that is never removed."""
    refuse_root(folders, folder)
    parts = _parts(folder)
    files = [entry for part in parts for entry in _written(part)]
    listed = {*files, *parts}
    left = [entry for part in parts for entry in _entries(part) if entry not in listed and entry.name != LOCK_FILE]
    return Removal(
        folders.shown(folder),
        sum(map(_bytes_in, files)),
        sum(len(checkpoints_in(part)) for part in parts),
        tuple(showable(str(entry.relative_to(folder))) for entry in left),
        tuple(folders.shown(run) for run in followers_of(folder, runs, folders)),
    )


def remove_run(folders: Folders, folder: Path) -> bool:
    """Remove what a run, or a pipeline with its stages, has written. False if files of others are left in the folder. Raises Kept if a process writes to
    it, and OSError where something can't be removed: then its record is still there."""
    refuse_root(folders, folder)
    parts = _parts(folder)
    with locked(folders, parts):
        for part in reversed(parts):  # the record of a pipeline is the last
            for entry in sorted(_written(part), key=lambda entry: entry.name in (RUN_FILE, PIPELINE_FILE)):
                _remove(entry)
    for part in reversed(parts):
        if part.is_dir() and not _entries(part):
            part.rmdir()
    return not folder.exists()


def rename_run(folders: Folders, folder: Path, name: str, runs: Iterable[Path]) -> Path:
    """Give the folder of a run another name. Raises Kept if a process writes to it, if it belongs to a pipeline, or if an adapter needs it, and OSError."""
    refuse_root(folders, folder)
    if (folder / PIPELINE_FILE).exists() or (folder.parent / PIPELINE_FILE).exists():
        raise Kept(f"{folders.shown(folder)} belongs to a pipeline, which knows its stages by their folders.")
    adapters = [folders.shown(run) for run in followers_of(folder, runs, folders) if (run / ADAPTER_CONFIG).exists()]
    if adapters:
        raise Kept(f"{', '.join(adapters)} would not find the model that it is an adapter of.")
    target = _beside(folder, name)
    with locked(folders, [folder]) as locks:
        folder.rename(target)  # an empty folder that is made meanwhile is replaced, nothing else
        locks[0].path = target / LOCK_FILE
    return target


def refuse_root(folders: Folders, folder: Path) -> None:
    """A folder that the app was started with is never removed or renamed, nor one that has it inside. Raises Kept."""
    if any(root.is_relative_to(folder) for root in folders.roots):
        raise Kept(f"{folder} is a folder that the app was started with.")


@contextmanager
def locked(folders: Folders, parts: Iterable[Path]) -> Iterator[list[FileLock]]:
    """The locks of folders, which no run can write to meanwhile. Raises Kept if one does."""
    with ExitStack() as releasing:
        locks = [FileLock(part / LOCK_FILE) for part in parts]
        for lock in locks:
            if not lock.acquire(wait=False):
                raise Kept(f"A process writes to {folders.shown(lock.path.parent)}: stop it first.")
            releasing.callback(lock.release)
        yield locks


def followers_of(folder: Path, runs: Iterable[Path], folders: Folders) -> list[Path]:
    """The runs that were trained from the model, or a checkpoint, in a folder."""
    return [
        run
        for run in runs
        if not run.is_relative_to(folder) and any(_is_in(name, folder, run, folders) for name in _bases(run))
    ]


def _bases(run: Path) -> Iterator[str]:
    """The models that a run names as the one it started from: in its plan, and in an adapter's file."""
    yield str(mapping(mapping(run_document(run).get("plan")).get("model")).get("name") or "")
    try:
        adapter = mapping(parse_json((run / ADAPTER_CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    yield str(adapter.get("base_model_name_or_path") or "")


def _is_in(name: str, folder: Path, run: Path, folders: Folders) -> bool:
    path = name.partition("@")[0]
    return bool(path) and _resolved(folders.home / path).is_relative_to(folder)


def _parts(folder: Path) -> list[Path]:
    """The folder of a run; of a pipeline also those of its stages."""
    record = read_record(folder)
    stages = [folder / name for name in record.stages] if record is not None else []
    return [
        folder,
        *(stage for stage in stages if stage.parent == folder and stage.is_dir() and not stage.is_symlink()),
    ]


def _written(folder: Path) -> list[Path]:
    """What a run has written to its folder, and the earlier run that it has set aside."""
    from autotrain_llm.run.artifacts.output_lock import ASIDE, RUN_FILES, UNFINISHED

    listed = {name for name in run_document(folder).get("files") or [] if isinstance(name, str)}
    listed |= {PIPELINE_FILE, UNFINISHED}
    entries = _entries(folder)
    return [
        each for each in entries if RUN_FILES.fullmatch(each.name) or each.name in listed or each.name.startswith(ASIDE)
    ]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _remove(entry: Path) -> None:
    """Remove a file, a folder with all that it has, or a link, which is not followed."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _bytes_in(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum((Path(place) / name).lstat().st_size for place, _, names in os.walk(path) for name in names)
