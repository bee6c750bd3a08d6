"""docs/benchmarks.md, into which each benchmark writes its table between its own markers."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs/benchmarks.md"
TITLE = "# Benchmarks\n\nEach table is written by the script that it names, with `--write`.\n"


def write(name: str, table: str) -> None:
    """Put a table between the markers of this name; new ones are added at the end of the page."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else TITLE
    block = f"{begin}\n{table}\n{end}"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + block + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    PAGE.write_text(text, encoding="utf-8")
