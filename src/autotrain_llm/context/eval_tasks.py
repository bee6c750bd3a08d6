"""The tasks of lm-evaluation-harness that are installed, told from the files of the package: it is not imported, and nothing is asked of a network."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PACKAGE = "lm_eval"
INSTALL = 'pip install "lm-eval>=0.4.13,<0.5"'
NAMED = re.compile(rb"^(?:task|group|tag): *[\"']?([\w.-]+)", re.MULTILINE)
FILES = (".yaml", ".yml")


def is_file(name: str) -> bool:
    """Whether a task is named by its file."""
    return name.endswith(FILES)


@cache
def task_names() -> frozenset[str]:
    """Every task, group and tag that the installed package declares; empty where it isn't installed."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    found: set[str] = set()
    for folder in folders or ():
        for path in (Path(folder) / "tasks").rglob("*.yaml"):
            found.update(name.decode() for name in NAMED.findall(path.read_bytes()))
    return frozenset(found)


def task_of(path: Path) -> str | None:
    """The name that a task's file gives it; None for a file that names no task."""
    found = re.search(NAMED, path.read_bytes())
    return found[1].decode() if found else None
