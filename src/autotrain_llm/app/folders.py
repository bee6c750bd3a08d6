"""The folders that the app was started with. Every path that comes from a page goes through `resolve`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotrain_llm.context.output_dir import CHECKPOINTS, RUN_FILE, SWEEP
from autotrain_llm.context.pipeline_record import PIPELINE_FILE
from autotrain_llm.data.files.read import ROW_ENDINGS

UPLOADS = "uploads"
DEEPEST, MOST_FOLDERS, MOST_FILES = 4, 4000, 100
NOT_ENTERED = frozenset({"node_modules", "__pycache__", CHECKPOINTS, "eval", "logs", "site-packages"})


class Outside(Exception):
    """A path that is in none of the folders, or that can't be a path. The message says which."""


@dataclass(frozen=True)
class Folders:
    """The folders, with links followed. Commands are started in the first, `home`; a relative path begins there."""

    roots: tuple[Path, ...]

    @property
    def home(self) -> Path:
        return self.roots[0]

    def resolve(self, text: str) -> Path:
        """The path that a text names, with links followed. Raises Outside."""
        try:
            path = self.home.joinpath(Path(text).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError):  # a circle of links, an unknown home folder, a null character
            raise Outside(f"{text!r} is not a path") from None
        if not any(path.is_relative_to(root) for root in self.roots):
            raise Outside(f"{text} is outside of the folders that the app was started with")
        return path

    def shown(self, path: Path) -> str:
        """A path as a user would type it in `home`."""
        return str(path.relative_to(self.home)) if path.is_relative_to(self.home) and path != self.home else str(path)

    def data_files(self) -> list[str]:
        """Files of rows, the newest first. The folders of runs are left out: their files are results."""
        found: list[tuple[float, str]] = []
        for folder, names in self._walk():
            if RUN_FILE in names or PIPELINE_FILE in names:
                continue
            for name, entry in names.items():
                if name.endswith(ROW_ENDINGS) and entry.is_file(follow_symlinks=False):
                    found.append((entry.stat(follow_symlinks=False).st_mtime, self.shown(folder / name)))
        return [name for _, name in sorted(found, reverse=True)[:MOST_FILES]]

    def runs(self) -> list[Path]:
        """The folders of runs and pipelines, without those of a sweep's trials."""
        return [folder for folder, names in self._walk() if RUN_FILE in names or PIPELINE_FILE in names]

    def _walk(self) -> Iterator[tuple[Path, dict[str, os.DirEntry[str]]]]:
        """Each folder with its entries by name; neither hidden folders nor links are followed. A folder that can't be read is left out."""
        waiting = [(root, 0) for root in dict.fromkeys(self.roots)]
        entered = set[Path]()
        while waiting and len(entered) < MOST_FOLDERS:
            folder, depth = waiting.pop(0)
            if folder in entered:
                continue
            entered.add(folder)
            try:
                with os.scandir(folder) as entries:
                    names = {entry.name: entry for entry in entries}
                inner = [entry for entry in names.values() if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            yield folder, names
            closed = NOT_ENTERED | ({SWEEP} if RUN_FILE in names else set())
            if depth < DEEPEST:
                waiting += [
                    (folder / entry.name, depth + 1)
                    for entry in inner
                    if not entry.name.startswith(".") and entry.name not in closed
                ]

    def new_upload(self, name: str) -> Path:
        """A path for a file that is uploaded, which no file has. Raises Outside for a name that is not one of a file of rows."""
        stem, ending = os.path.splitext(re.sub(r"[^\w.-]+", "-", name.replace("\\", "/").rpartition("/")[2]))  # noqa: PTH122
        stem, ending = stem.lstrip(".-")[:80], ending.lower()
        if not stem or ending not in ROW_ENDINGS:
            raise Outside(f"{name!r} is not the name of a file of rows: {', '.join(ROW_ENDINGS)}")
        folder = self.resolve(UPLOADS)
        folder.mkdir(exist_ok=True)
        candidates = [stem, *(f"{stem}-{number}" for number in range(2, 10_000))]
        return next(path for each in candidates if not (path := folder / f"{each}{ending}").exists())
