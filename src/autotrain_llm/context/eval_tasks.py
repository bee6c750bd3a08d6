"""The installed tasks of lm-evaluation-harness, read from the package's files, without importing it and without a network."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PACKAGE = "lm_eval"
INSTALL = 'pip install "lm-eval>=0.4.13,<0.5"'
TASK_NAME = re.compile(rb"^(?:task|group|tag): *[\"']?([\w.-]+)", re.MULTILINE)
TASK_FILE_ENDINGS = (".yaml", ".yml")


def is_file(name: str) -> bool:
    """Whether `--eval-benchmark` names a task by its file."""
    return name.endswith(TASK_FILE_ENDINGS)


@cache
def task_names() -> frozenset[str]:
    """Every task, group and tag that the installed package declares; empty if it isn't installed."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    tasks: set[str] = set()
    for folder in folders or ():
        for path in (Path(folder) / "tasks").rglob("*.yaml"):
            tasks.update(name.decode() for name in TASK_NAME.findall(path.read_bytes()))
    return frozenset(tasks)


def task_of(path: Path) -> str | None:
    """The name in a task's file; None for a file that names no task."""
    match = re.search(TASK_NAME, path.read_bytes())
    return match[1].decode() if match else None
