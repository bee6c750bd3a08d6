"""The width of the terminal, and whether to use colour."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
WIDEST = 120
PLAIN_WIDTH = 100


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def width(stream: TextIO) -> int:
    """The line width: the terminal's, up to WIDEST; PLAIN_WIDTH without a terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        return min(int(columns), WIDEST)
    if not is_terminal(stream):
        return PLAIN_WIDTH
    try:
        return min(os.get_terminal_size(stream.fileno()).columns, WIDEST) or PLAIN_WIDTH
    except OSError:
        return PLAIN_WIDTH


def wants_colour(stream: TextIO) -> bool:
    """Whether to use colour: only on a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is dumb."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, colour: bool) -> str:
    """The text with ANSI codes for `style`, such as "bold red", if `colour` is on."""
    if not colour or not text:
        return text
    codes = ";".join(STYLES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def fit(text: str, columns: int, indent: str = "") -> list[str]:
    """The lines of a text, those that are longer than `columns` broken at spaces; `indent` precedes the broken-off parts.

    A word that is longer than a line stays whole: the terminal folds it, and a path or a command can still be copied.
    """
    lines = []
    for whole in text.split("\n"):
        body = whole.lstrip(" ")
        first, *words = body.split(" ")
        line = " " * (len(whole) - len(body)) + first
        for word in words:
            if len(line) + 1 + len(word) > columns:
                lines.append(line)
                line = indent + word
            else:
                line += f" {word}"
        lines.append(line)
    return [line.rstrip() for line in lines]


def fit_command(text: str, columns: int, indent: str = "") -> list[str]:
    """The lines of a command, with backslashes where it is broken between two words: it can be copied as it stands."""
    import re

    quoted = r"""(?:'[^']*'|"[^"]*"|\S)+"""
    lines = [indent]
    for word in re.findall(rf"--\S+ (?!-){quoted}|{quoted}", text):  # a flag stays beside its value
        if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > columns:
            lines[-1] += " \\"
            lines.append(indent + "  " + word)
        else:
            lines[-1] += word if not lines[-1].strip() else f" {word}"
    return lines


def fit_to(stream: TextIO, text: str, indent: str = "  ") -> str:
    """A text as it is printed on a stream: broken at spaces on a terminal, unchanged elsewhere, where other programs read its lines."""
    return "\n".join(fit(text, width(stream), indent)) if is_terminal(stream) else text


def command_to(stream: TextIO, command: str) -> str:
    """A command as it is printed on a stream: broken between words on a terminal, one line elsewhere."""
    return "\n".join(fit_command(command, width(stream))) if is_terminal(stream) else command


def wrap(text: str, columns: int) -> list[str]:
    """Break a text at spaces. Importing `textwrap` takes longer than printing a page of help."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > columns:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line or not lines else lines
