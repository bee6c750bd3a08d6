"""Files of installed packages, read as text without importing these."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def source_of(package: str, file: str) -> str:
    """The text of a file of an installed package; empty if it has none."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
