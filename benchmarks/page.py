"""docs/benchmarks.md, into which each benchmark writes its tables between markers of its own."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs/benchmarks.md"
TITLE = "# Benchmarks\n\nEach table is written by the script that is named with it, with `--write`.\n"


def write(name: str, table: str) -> None:
    """Put a table between the markers of this name, at the end of the page where they are not there yet."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else TITLE
    block = f"{begin}\n{table}\n{end}"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + block + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    PAGE.write_text(text, encoding="utf-8")
