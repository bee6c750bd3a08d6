"""Pieces of Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make docs` from the declarations in src/autotrain_llm; edit those. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], centred: int | None = None) -> str:
    """A table; the columns from number `centred` on are centred."""
    line = ["---" if centred is None or number < centred else ":---:" for number in range(len(head))]
    cells = [head, line, *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def block(text: str, language: str = "bash") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def command(flags: str) -> str:
    """A command with one flag a line, quoted as it was given."""
    lines = ["autotrain llm"]
    for word in _words(flags):
        if word.startswith("--"):
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _words(flags: str) -> list[str]:
    return [shlex.quote(word) for word in shlex.split(flags)]


def anchor(heading: str) -> str:
    """The link to a heading, as GitHub makes it."""
    kept = "".join(character for character in heading.lower() if character.isalnum() or character in " -_")
    return "#" + kept.replace(" ", "-")
