"""The pages of the documentation as their readers use them: the files that a page shows, and its commands."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import PROJECT, SHARED

REFERENCE = SHARED / "reference" / "parameter_guide.md"
NOTEBOOK = PROJECT / "examples" / "notebook.ipynb"
PATHS = [
    PROJECT / "README.md",
    PROJECT / "PARAMETER_GUIDE.md",
    *sorted((PROJECT / "examples").rglob("*.md")),
    NOTEBOOK,
    *sorted((PROJECT / "docs").rglob("*.md")),
    *([REFERENCE] if REFERENCE.exists() else []),
]
BLOCK = re.compile(
    r"^```(?P<language>[a-z]*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE
)
SHELL = ("", "bash", "sh", "shell", "console")
COMMAND = re.compile(r"(autotrain|python) ")


@dataclass(frozen=True)
class Page:
    """A page: its name, the files that it tells its reader to write, and the commands of its shell blocks, each on one line."""

    name: str
    files: dict[str, str]
    commands: tuple[str, ...]

    @property
    def scripts(self) -> list[str]:
        """The scripts of the page that it tells its reader to run."""
        words = (command.split() for command in self.commands if command.startswith("python "))
        return [name for _, name, *_ in words if name in self.files]

    def prepare(self, folder: Path) -> None:
        """Write the files of the page and run its scripts; `folder` is the current one."""
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in self.scripts:
            runpy.run_path(str(folder / name))

    def of(self, *names: str) -> Iterator[str]:
        """The commands of autotrain with one of these names."""
        for command in self.commands:
            if command.startswith(tuple(f"autotrain {name}" for name in names)):
                yield command


def page(path: Path) -> Page:
    name = path.name if path == REFERENCE else path.relative_to(PROJECT).as_posix()
    text = path.read_text(encoding="utf-8")
    if path == NOTEBOOK:
        return _notebook(name, json.loads(text))
    blocks = list(BLOCK.finditer(text))
    files = {block["title"]: block["text"] for block in blocks if block["title"]}
    shell = "\n".join(block["text"] for block in blocks if block["language"] in SHELL and not block["title"])
    return Page(name, files, tuple(_commands(shell)))


def _notebook(name: str, document: dict) -> Page:
    """A notebook: cells without commands are the script that the page shows."""
    cells = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
    shell = "\n".join(cell.removeprefix("!") for cell in cells if cell.startswith("!"))
    rows = next(cell for cell in cells if "open(" in cell and "write" in cell)
    return Page(name, {"make_rows.py": rows}, ("python make_rows.py", *_commands(shell)))


def _commands(shell: str) -> Iterator[str]:
    for line in shell.replace("\\\n", " ").splitlines():
        command = " ".join(line.strip().removeprefix("$ ").split())
        if COMMAND.match(command):
            yield command


PAGES = [page(path) for path in PATHS]
