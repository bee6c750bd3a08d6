"""`Finding`, the result of a check, and `Refused`, the exception that carries findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY, Record
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import plain

TYPE_CHECKING = False

ERROR = "error"
WARNING = "warning"


class Finding(Record):
    """A fault, with a fix that a user can act on.

    `parameters` are field names (`dpo_beta`), `row` is counted from 1 at the first data row, `line` is the line of a JSON Lines file.
    A rule leaves `code` empty: the rule's own code is filled in. `changes` is a fix that `--fix` can apply: the new value of each parameter,
    None to remove it. `guess` is what was probably meant, in the same form; it is shown and never applied, because only the user can know. The
    text of `fix` is derived from either, followed by `otherwise` ("or …"); with a guess it can also be given. Texts are made showable: no
    credentials, no control characters.
    """

    message: str
    fix: str | None = None
    parameters: tuple[str, ...] = ()
    severity: str = ERROR
    file: str | None = None
    row: int | None = None
    line: int | None = None
    code: str = ""
    changes: Mapping[str, Any] = EMPTY
    otherwise: str = ""
    guess: Mapping[str, Any] = EMPTY

    if not TYPE_CHECKING:

        def __init__(self, *positional, **named):
            super().__init__(*positional, **named)
            if self.changes or (self.guess and not self.fix):
                fix = ", ".join(part for part in (in_words(self.suggestion), self.otherwise) if part)
                self.__dict__["fix"] = fix
            for name in ("message", "fix", "file"):
                if self.__dict__.get(name):
                    self.__dict__[name] = showable(self.__dict__[name])
            # The name of a parameter that is not known is any text.
            self.__dict__["parameters"] = tuple(map(_showable_name, self.parameters))

    @property
    def suggestion(self) -> Mapping[str, Any]:
        """The parameters and values to use instead, certain or guessed."""
        return self.changes or self.guess

    def __hash__(self) -> int:
        return hash((self.code, self.message, self.parameters, self.file, self.row))

    def as_document(self) -> dict[str, Any]:
        """All fields as plain values, of which `of_document` makes the finding again."""
        return {**self.as_dict(), "changes": dict(self.changes), "guess": dict(self.guess)}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Finding:
        return cls(**{**document, "parameters": tuple(document["parameters"])})

    def as_json(self) -> dict[str, object]:
        """The finding as `--format json` prints it; `line` and `changes` are left out if empty."""
        document: dict[str, object] = {
            "code": self.code,
            "severity": self.severity,
            "parameters": list(self.parameters),
            "message": self.message,
            "fix": self.fix,
            "file": self.file,
            "row": self.row,
        }
        if self.line is not None:
            document["line"] = self.line
        if self.changes:
            document["changes"] = {
                name: showable(value) if isinstance(value, str) else value for name, value in self.changes.items()
            }
        return document


def _showable_name(name: str) -> str:
    """The name of a parameter, which is shown as a flag too: a token's underscores are dashes there, and its dashes are underscores here."""
    flag = flag_of(name)
    return showable(name) if showable(flag) == flag else showable(flag).removeprefix("--")


def in_words(changes: Mapping[str, Any]) -> str:
    """Changes as flags: `--lr 2e-5 --peft`, `remove --peft`."""
    flags = " ".join(typed(name, value) for name, value in changes.items() if value is not None)
    removed = ", ".join(flag_of(name) for name, value in changes.items() if value is None)
    return " and ".join(part for part in (flags, f"remove {removed}" if removed else "") if part)


def typed(name: str, value: Any) -> str:
    """A flag and its value, quoted for a shell if needed."""
    if value is True:
        return flag_of(name)
    if value is False:
        return "--no-" + name.replace("_", "-")
    if isinstance(value, dict):
        from json import dumps

        value = dumps(value, ensure_ascii=False)
    text = plain(value)
    if not text or any(letter in " \t\n'\"\\$`&|;<>()*?[]{}!#~" for letter in text):
        from shlex import quote

        text = quote(text)
    return f"{flag_of(name)}{'=' if text.startswith('--') else ' '}{text}"


def refuses(findings: Iterable[Finding], strict: bool = False) -> bool:
    """Whether a command with these findings may not go on: with an error, or if it is `strict` with any."""
    return any(strict or finding.severity == ERROR for finding in findings)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Each finding once, warnings before errors, so that errors are nearest to the prompt."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.severity == ERROR))


class Refused(Exception):
    """Raised if a run can't continue; carries all findings so far."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(finding.message for finding in self.findings))
