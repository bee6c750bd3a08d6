"""A line that a person types: with editing, and with Tab for paths and choices, where there is a terminal for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from autotrain_llm.cli.terminal import is_terminal


def read_line(prompt: str, stream: TextIO, choices: Sequence[str] = ()) -> str:
    """A line without its end. Tab completes a path, or one of the choices. Raises EOFError at the end of input.

    The editor writes to standard output; where that is no terminal, the prompt goes to `stream` and the line is read as it is.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        stream.write(prompt)
        stream.flush()
        line = sys.stdin.readline()
        if not line:
            stream.write("\n")
            raise EOFError
        return line.rstrip("\n")
    stream.flush()
    with _completing(choices):
        return input(prompt)


@contextmanager
def _completing(choices: Sequence[str]) -> Iterator[None]:
    """Tab completes while a line is read; without the library it does not."""
    try:
        import readline
    except ImportError:
        yield
        return
    before, delimiters = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(_completer(choices))
    readline.set_completer_delims("")  # a path may have spaces
    by_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if by_libedit else "tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before)
        readline.set_completer_delims(delimiters)


def _completer(choices: Sequence[str]) -> Callable[[str, int], str | None]:
    found: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if state == 0:  # the first call for a text; the others ask for what else was found
            found[:] = completions(text, choices)
        return found[state] if state < len(found) else None

    return complete


def completions(text: str, choices: Sequence[str] = ()) -> list[str]:
    """The choices and the paths that begin with a text; a folder ends with a slash. Hidden files are shown where a dot is typed."""
    named = [name for name in choices if text and name.startswith(text)]
    folder, _, start = text.rpartition("/")
    place = Path(folder or ("/" if text.startswith("/") else ".")).expanduser()
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        entries = []
    head = text[: len(text) - len(start)]
    paths = [
        f"{head}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
    ]
    return [*dict.fromkeys([*named, *paths])]
