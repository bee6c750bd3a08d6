"""What the commands beside `autotrain llm` have in common: they read some of its parameters, and write a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import Record


class CommandFlags(Record):
    """The command line of such a command: the parameters of `autotrain llm` that it was given, and those that it reads."""

    given: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()

    @property
    def unread(self) -> tuple[str, ...]:
        return tuple(name for name in self.given if name not in self.reads)

    def without_effect(self, on: str) -> Iterator[Finding]:
        """The finding about parameters that are not read; `on` says what they have no effect on, or why they have none."""
        if self.unread:
            verb = "have" if len(self.unread) > 1 else "has"
            message = f"{', '.join(map(flag_of, self.unread))} {verb} no effect{on}"
            yield Finding(message, None, self.unread, changes=dict.fromkeys(self.unread))


def in_the_way(output_dir: str, command: str) -> Iterator[Finding]:
    """The finding about a folder that is to be written, and is there already with something in it; `command` is the name of the command."""
    folder = Path(output_dir).expanduser()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    free = next(path for number in range(2, 10_000) if not (path := Path(f"{output_dir}-{number}")).exists())
    what = "is not empty" if folder.is_dir() else "is a file"
    message = f"--output-dir {output_dir} {what}, and {command} writes over nothing"
    yield Finding(message, None, ("output_dir",), guess={"output_dir": str(free)})
