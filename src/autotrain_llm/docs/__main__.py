"""`python -m autotrain_llm.docs write|--check [--root DIR]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from autotrain_llm.docs.blocks import filled
from autotrain_llm.docs.guide import guide
from autotrain_llm.docs.matrix import compatibility
from autotrain_llm.docs.presets_page import presets
from autotrain_llm.docs.rules_page import rules
from autotrain_llm.docs.schema import schema

DOCUMENTS: dict[str, Callable[[], str]] = {
    "PARAMETER_GUIDE.md": guide,
    "docs/compatibility.md": compatibility,
    "docs/presets.md": presets,
    "docs/rules.md": rules,
    "docs/schema.json": schema,
}


def write(root: Path) -> list[str]:
    """Write every document; the names of those that changed."""
    changed = outdated(root)
    for name in changed:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DOCUMENTS[name]() if name in DOCUMENTS else _filled(root, name), encoding="utf-8")
    return changed


def outdated(root: Path) -> list[str]:
    """Documents that are missing or differ from what the declarations say."""
    documents = [name for name, make in DOCUMENTS.items() if _content(root / name) != make()]
    return documents + [name for name in _pages(root) if _content(root / name) != _filled(root, name)]


def _pages(root: Path) -> list[str]:
    """The pages that are written by hand, some parts of which are generated."""
    names = [path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md"))]
    return [name for name in names if name not in DOCUMENTS]


def _filled(root: Path, name: str) -> str:
    return filled((root / name).read_text(encoding="utf-8"), name)


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m autotrain_llm.docs", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["write"], default="write", help="write the documents")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a document is out of date")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    options = parser.parse_args()
    names = outdated(options.root) if options.check else write(options.root)
    for name in names:
        sys.stdout.write(f"{name} is out of date: run `make docs`\n" if options.check else f"{name} written\n")
    return 1 if options.check and names else 0


if __name__ == "__main__":
    sys.exit(main())
