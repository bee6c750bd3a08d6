"""`Observations`: many rows with the same fault become one finding, with a count and the first rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.record import EMPTY

FIRST_ROWS = 3
DATA_PARAMETER = "data_path"


@dataclass(slots=True)
class _Kind:
    code: str
    severity: str
    what: str
    fix: str | None
    parameters: tuple[str, ...]
    count: int = 0
    places: list[tuple[str, int | None, int | None]] = field(default_factory=list)
    last: int | None = None


class Observations:
    """Collects faults while rows are read; `findings()` turns them into one finding per kind."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], _Kind] = {}
        self._single: list[Finding] = []
        self._data_parameter = DATA_PARAMETER

    @contextmanager
    def about(self, parameter: str) -> Iterator[None]:
        """Findings about data that this parameter names, and not `--data-path`, which readers of files take it to be."""
        self._data_parameter = parameter
        try:
            yield
        finally:
            self._data_parameter = DATA_PARAMETER

    def _meant(self, parameters: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._data_parameter if name == DATA_PARAMETER else name for name in parameters)

    def add(self, finding: Finding) -> None:
        """A finding that stands for itself."""
        if finding not in self._single:
            self._single.append(finding)

    def say(
        self,
        code: str,
        message: str,
        *,
        fix: str | None = None,
        parameters: tuple[str, ...] = (),
        severity: str = ERROR,
        file: str | None = None,
        row: int | None = None,
        line: int | None = None,
        changes: Mapping[str, Any] = EMPTY,
        otherwise: str = "",
    ) -> None:
        """A finding that stands for itself, from its parts."""
        parameters = self._meant(parameters)
        self.add(Finding(message, fix, parameters, severity, file, row, line, code, changes, otherwise))

    def row(
        self,
        code: str,
        file: str,
        row: int,
        what: str,
        *,
        line: int | None = None,
        fix: str | None = None,
        severity: str = WARNING,
        parameters: tuple[str, ...] = (),
        key: str | None = None,
    ) -> None:
        """One row with a fault. Rows with the same code, file and `key` (else `what`) are counted together, each once."""
        identity = (code, file, what if key is None else key)
        kind = self._kinds.get(identity)
        if kind is None:
            kind = self._kinds[identity] = _Kind(code, severity, what, fix, self._meant(parameters))
        if kind.last == row:  # both answers of a pair
            return
        kind.last = row
        kind.count += 1
        if len(kind.places) < FIRST_ROWS:
            kind.places.append((file, row, line))

    def findings(self) -> tuple[Finding, ...]:
        """Everything collected, in the order it was met."""
        return tuple(self._single) + tuple(_finding(kind) for kind in self._kinds.values())

    @property
    def refused(self) -> bool:
        """Whether anything so far is an error."""
        return any(finding.severity == ERROR for finding in self.findings())


def _finding(kind: _Kind) -> Finding:
    file, row, line = kind.places[0]
    where = f"{file}, row {row}"
    if line is not None and line != row:
        where += f" (line {line})"
    message = f"{where}: {kind.what}"
    if kind.count > 1:
        rows = ", ".join(str(place[1]) for place in kind.places)
        more = ", …" if kind.count > len(kind.places) else ""
        message += f" ({kind.count} rows: {rows}{more})"
    return Finding(message, kind.fix, kind.parameters, kind.severity, file, row, line, kind.code)
