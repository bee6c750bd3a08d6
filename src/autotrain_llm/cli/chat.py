"""`autotrain chat`: talk with a finished model in the terminal, or with two side by side; elsewhere each line of standard input is answered."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.outcome import DONE, REFUSED, ended, refuse
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to, is_terminal, styled, wants_colour
from autotrain_llm.context.signals import signal_of
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.showable import visible

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.config.arguments import ParsedArguments
    from autotrain_llm.run.generation.chat import Speaker

USAGE = "usage: autotrain chat MODEL [--against MODEL|base] [flags]"
SUMMARY = (
    "Talks with a finished model, as its rows were written: with the chat template and the system prompt of its training, or as plain text that it "
    "continues. MODEL is the folder of a run, a checkpoint, a model or an adapter, RUN@best, or a Hub id. Without a terminal each line of standard "
    "input is answered."
)
COMMANDS = {
    "/save [FILE]": "append the conversation to FILE (chat.jsonl) as a row to train on",
    "/retry": "answer the last message again",
    "/reset": "begin a new conversation",
    "/system TEXT": "begin a new conversation with another system prompt",
    "/help": "show these commands",
    "/exit": "end, as Ctrl-D does; Ctrl-C stops an answer",
}
SAVED = "chat.jsonl"
STOPPED, CUT_OFF = "stopped", "cut off"  # how an answer ends before its end token
NOTES = {STOPPED: "(stopped)", CUT_OFF: "(cut off: --max-new-tokens allows no more, or the model's context is full)"}


def chat(words: Sequence[str]) -> int:
    """Carry out the words after `autotrain chat` and return the exit status."""
    arguments = read(["--inference=true", *words], positional="model")
    with Screen.of(arguments.values) as screen:
        return ended(lambda: _answer(arguments, screen), screen, "Stopped.")


def _answer(arguments: ParsedArguments, screen: Screen) -> int:
    from autotrain_llm.checks.chat import check_chat_arguments
    from autotrain_llm.cli.render import findings_text

    checked = check_chat_arguments(arguments)
    if checked.refused:
        return refuse(checked.findings, screen, strict=checked.config.strict)
    if not checked.config.dry_run:
        return _talk(checked, screen)
    if screen.json:
        screen.document(DONE, checked.findings)
    else:
        screen.write(findings_text(checked.findings, screen.err))
        screen.answer("Nothing was loaded (--dry-run).")
    return DONE


def _talk(checked: Checked, screen: Screen) -> int:
    """Load the models and answer until the input ends."""
    from autotrain_llm.cli.render import findings_text
    from autotrain_llm.run.generation.chat import open_chat
    from autotrain_llm.run.session.training import quiet_libraries

    quiet_libraries(screen.verbose)
    opened = open_chat(checked.context)
    findings = [*checked.findings, *opened.findings]
    is_dialogue = is_terminal(sys.stdin) and is_terminal(screen.out) and not screen.json
    if not screen.json:
        screen.write(findings_text(findings, screen.err))
    dialogue = Dialogue(opened.speakers, screen, is_dialogue)
    dialogue.run()
    if screen.json:
        screen.document(DONE, findings, answers=dialogue.answers)
    return REFUSED if dialogue.has_failed and not is_dialogue else DONE


class Dialogue:
    """Reads lines, of which some are commands, and writes the answers of each model. `has_failed` is whether a line could not be answered."""

    def __init__(self, speakers: Sequence[Speaker], screen: Screen, in_terminal: bool) -> None:
        self.speakers, self.screen, self.in_terminal = speakers, screen, in_terminal
        self.colour = in_terminal and wants_colour(screen.out)
        self.answers: list[dict[str, Any]] = []
        self.has_failed = False

    def run(self) -> None:
        if self.in_terminal and not self.screen.quiet:
            for line in self._introduction():
                self._tell(line)
        for line in self._typed() if self.in_terminal else self._piped():
            text = line.strip()
            if line.startswith("/"):  # a line that begins with a space is a message, whatever follows
                command, _, argument = text.partition(" ")
                if command == "/exit":
                    return
                self._carry_out(command, argument.strip())
            elif text:
                self._ask(text)

    def _introduction(self) -> Iterator[str]:
        for speaker in self.speakers:
            if not speaker.rendering.is_chat:
                yield f"{speaker.name} was trained on single texts: it continues or answers each line, and remembers none."
            elif speaker.rendering.system_prompt:
                yield f"{speaker.name}, with the system prompt: {speaker.rendering.system_prompt}"
            else:
                yield speaker.name
        yield "/help shows the commands, Ctrl-D ends."

    def _piped(self) -> Iterator[str]:
        """The lines of standard input."""
        try:
            yield from sys.stdin
        except UnicodeDecodeError as problem:
            self._fail(f"standard input is not {problem.encoding}")

    def _typed(self) -> Iterator[str]:
        """The lines that are typed, with a history of them where the platform has one."""
        with suppress(ImportError):
            import readline  # noqa: F401  (by being imported it lets `input` edit lines)
        while True:
            try:
                line = input("> ")
            except EOFError:
                self._tell("")
                return
            except KeyboardInterrupt as stopped:
                if signal_of(stopped) != SIGINT:
                    raise
                self._tell("\n(Ctrl-D or /exit ends.)")
            else:
                yield line

    # ---- answers

    def _ask(self, text: str) -> None:
        """Let every model answer a message."""
        for speaker in self.speakers:
            if self._answer(speaker, text) == STOPPED:
                return

    def _answer(self, speaker: Speaker, text: str) -> str | None:
        """Let a model answer, and write its answer as it comes. Returns how it ended; None if it can't be given."""
        from autotrain_llm.run.generation.chat import Unanswerable

        if len(self.speakers) > 1:
            self._write(styled(visible(f"{speaker.name}:"), "bold", self.colour) + "\n")
        try:
            reply = speaker.answer(text, self._write_piece)
        except Unanswerable as problem:
            self._fail(f"{problem}. /reset begins a new conversation.")
            return None
        self._write("\n")
        self.answers.append({"model": speaker.name, "prompt": text, "text": reply.text})
        if self.in_terminal and reply.end in NOTES:
            self._tell(NOTES[reply.end], "dim")
        return reply.end

    def _write_piece(self, text: str) -> None:
        """A piece of an answer. A model may write characters that a terminal obeys."""
        self._write(visible(text) if self.in_terminal else text)

    def _write(self, text: str) -> None:
        if not self.screen.json:
            self.screen.out.write(text)
            self.screen.out.flush()

    # ---- commands

    def _carry_out(self, command: str, argument: str) -> None:
        actions = {
            "/save": self._save,
            "/retry": self._retry,
            "/reset": self._reset,
            "/system": self._system,
            "/help": self._help,
        }
        if command in actions:
            actions[command](argument)
            return
        close = nearest(command, [*actions, "/exit"])
        instead = f"did you mean {close}?" if close else "/help shows the commands."
        self._fail(
            f"there is no command {command}; {instead} A message that begins with a slash has a space before it."
        )

    def _save(self, argument: str) -> None:
        """Append the first model's conversation to a file."""
        row = self.speakers[0].row()
        if row is None:
            self._fail("nothing has been said yet")
            return
        path = Path(argument or SAVED).expanduser()
        try:
            append_row(path, row)
        except OSError as problem:
            self._fail(f"{path} can't be written: {problem.strerror or problem}")
        else:
            self._tell(f"Appended to {path}; `autotrain llm --data-path {path}` trains on it.")

    def _retry(self, argument: str) -> None:
        for speaker in self.speakers:
            text = speaker.take_back()
            if text is None:
                self._fail("nothing has been said yet")
                return
            if self._answer(speaker, text) == STOPPED:
                return

    def _reset(self, argument: str) -> None:
        for speaker in self.speakers:
            speaker.reset()
        self._tell("A new conversation.")

    def _system(self, argument: str) -> None:
        for speaker in self.speakers:
            if not speaker.rendering.is_chat:
                self._fail(f"{speaker.name} was trained on single texts, which have no system prompt")
            elif argument:
                speaker.set_system(argument)
                self._tell(f"A new conversation of {speaker.name}, with this system prompt.")
            else:
                self._tell(f"{speaker.name}: {speaker.rendering.system_prompt or 'no system prompt'}")

    def _help(self, argument: str) -> None:
        for command, text in COMMANDS.items():
            self._tell(f"{command:<14}{text}")

    # ---- messages

    def _tell(self, text: str, style: str = "") -> None:
        """A message on standard error."""
        self.screen.out.flush()
        text = fit_to(self.screen.err, visible(text))
        print(styled(text, style, self.colour) if style else text, file=self.screen.err, flush=True)

    def _fail(self, message: str) -> None:
        self.has_failed = True
        self._tell(f"Error: {message}")


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of JSON Lines, on a line of its own. Raises OSError if it can't be written."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            starts_new = file.read(1) == b"\n"
        else:
            starts_new = True
        file.write(
            (b"" if starts_new else b"\n")
            + json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
            + b"\n"
        )
