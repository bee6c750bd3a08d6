"""Questions in a terminal: a line of text, or one of numbered choices that takes the number or the name.

Questions go to standard error, so that they are seen where standard output is piped. `back` or `<` raises Back, the end of input
KeyboardInterrupt.
"""

from __future__ import annotations

from collections.abc import Sequence

from autotrain_llm.cli.line_input import read_line
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit, is_terminal, styled, wants_colour, width
from autotrain_llm.declare.record import Record

BACK = ("back", "<")
YES, NO = ("y", "yes"), ("n", "no")


class Back(Exception):
    """The user goes back to the question before."""


class Choice(Record):
    """A choice: its name, which is typed or its number, and what it is."""

    name: str
    text: str = ""


class Dialogue:
    """Writes texts and reads answers. The width is the terminal's."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._colour = wants_colour(screen.err)

    def heading(self, text: str = "") -> None:
        """An empty line, and a heading if there is one."""
        self._write("", *([styled(text, "bold", self._colour)] if text else []))

    def tell(self, text: str, indent: str = "") -> None:
        """A text, broken at spaces."""
        self._write(*fit(indent + text, self._columns, indent))

    def choices(self, choices: Sequence[Choice]) -> None:
        """A numbered list, for the answers `1` or the name."""
        digits = len(str(len(choices)))
        for number, choice in enumerate(choices, 1):
            head = f"{number:>{digits + 1}}. {choice.name}"
            text = f"{head}: {choice.text}" if choice.text else head
            first, *others = fit(text, self._columns, " " * (digits + 3))
            self._write(styled(head, "cyan", self._colour) + first.removeprefix(head), *others)

    def read(self, question: str, offered: str | None = None, choices: Sequence[Choice] = ()) -> str:
        """One line without spaces around it; empty input is the offered answer, and Tab completes paths and choices. Raises Back."""
        prompt = f"{question}{f' [{offered}]' if offered else ''}:"
        *lines, last = fit(prompt, self._columns)
        self._write(*lines)
        try:
            line = read_line(f"{last} ", self.screen.err, [choice.name for choice in choices])
        except EOFError:
            raise KeyboardInterrupt from None
        if line.strip().lower() in BACK:
            raise Back
        return line.strip() or (offered or "")

    def read_choice(self, question: str, choices: Sequence[Choice], offered: str | None = None) -> str:
        """The name of a choice, from its number or as it was typed; what is no choice is returned as it is."""
        answer = self.read(question, offered, choices)
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            return choices[int(answer) - 1].name
        return answer

    def confirm(self, question: str, default: bool) -> bool:
        """Yes or no. Raises Back."""
        while True:
            answer = self.read(f"{question} {'[Y/n]' if default else '[y/N]'}").lower()
            if not answer or answer in YES + NO:
                return default if not answer else answer in YES
            self.tell(f"{answer!r} is neither yes nor no; `back` goes to the question before.")

    @property
    def _columns(self) -> int:
        return width(self.screen.err) if is_terminal(self.screen.err) else 100

    def _write(self, *lines: str) -> None:
        for line in lines:
            self.screen.err.write(line + "\n")
        self.screen.err.flush()
