"""What a check has to say: one `Finding` per kind of fault, and the exception that carries them out of a function."""

from __future__ import annotations

from collections.abc import Iterable

from autotrain_llm.declare.record import Record

ERROR = "error"
WARNING = "warning"


class Finding(Record):
    """One thing that is wrong, in words a user can act on.

    `parameters` are field names (`dpo_beta`), `row` counts from 1 at the first data row, `line` is the line of a JSON Lines file.
    A rule leaves `code` empty: it is stamped with the rule's own.
    """

    message: str
    fix: str | None = None
    parameters: tuple[str, ...] = ()
    severity: str = ERROR
    file: str | None = None
    row: int | None = None
    line: int | None = None
    code: str = ""

    def as_json(self) -> dict[str, object]:
        """The finding as CONTRACT's `--format json` prints it; `line` only where there is one."""
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
        return document


class Refused(Exception):
    """Raised where a run can't go on; carries every finding that was made on the way."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(finding.message for finding in self.findings))
