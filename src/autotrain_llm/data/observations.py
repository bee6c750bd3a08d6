"""`Observations`: what was noticed while data was read. The rules of `rules/` turn it into findings.

Reading code names the rule of an observation and gives the values for its message. Rows with the same observation become one finding, with
a count and the first of these rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from autotrain_llm.declare.finding import ERROR, Finding, Refused
from autotrain_llm.declare.rule import RuleFunction

FIRST_ROWS = 3
DATA_PARAMETER = "data_path"


class Place(Protocol):
    """A row of a file: an Example, or a `RowPlace`."""

    @property
    def file(self) -> str: ...
    @property
    def row(self) -> int: ...
    @property
    def line(self) -> int | None: ...


class RowPlace(NamedTuple):
    """A row that is not an Example yet. `row` counts from 1; `line` is that of a file of lines."""

    file: str
    row: int
    line: int | None = None


class RowUnusable(Exception):
    """Raised for a row that can't be used: the rule that reports it, and the values for its message. `group` is as in `Observations.row`."""

    def __init__(self, rule: RuleFunction, group: Hashable = None, **facts: Any) -> None:
        super().__init__(rule.__name__)
        self.rule, self.group, self.facts = rule, group, facts


@dataclass(slots=True)
class _Observation:
    """A rule and the values for its message; `parameter` names the data that it is about. For several rows, the values are those of the
    first."""

    rule: RuleFunction
    facts: dict[str, Any]
    parameter: str
    places: list[Place] = field(default_factory=list)
    count: int = 0
    last: int | None = None

    def findings(self) -> Iterator[Finding]:
        for finding in findings_of(self.rule, **self.facts):
            parameters = tuple(self.parameter if name == DATA_PARAMETER else name for name in finding.parameters)
            finding = finding.replace(parameters=parameters)
            yield self._at_its_rows(finding) if self.places else finding

    def _at_its_rows(self, finding: Finding) -> Finding:
        first = self.places[0]
        line = f" (line {first.line})" if first.line is not None and first.line != first.row else ""
        rows = counted([place.row for place in self.places], self.count)
        message = f"{first.file}, row {first.row}{line}: {finding.message}{rows}"
        return finding.replace(message=message, file=first.file, row=first.row, line=first.line)


class Observations:
    """Collects what is seen while rows are read; `findings()` is what the rules make of it."""

    def __init__(self) -> None:
        self._single: list[_Observation] = []
        self._rows: dict[tuple[str, str, Hashable], _Observation] = {}
        self._parameter = DATA_PARAMETER

    @contextmanager
    def about(self, parameter: str) -> Iterator[None]:
        """Inside the context, observations are about the data of this parameter instead of `--data-path`."""
        self._parameter = parameter
        try:
            yield
        finally:
            self._parameter = DATA_PARAMETER

    def add(self, rule: RuleFunction, **facts: Any) -> None:
        """Record an observation about the data as a whole."""
        self._single.append(_Observation(rule, facts, self._parameter))

    def row(self, rule: RuleFunction, at: Place, group: Hashable = None, **facts: Any) -> None:
        """Record an observation about a row. Rows of one file with the same rule and `group` (else the same values) are counted together."""
        identity = (rule.__name__, at.file, repr(facts) if group is None else group)
        observation = self._rows.get(identity)
        if observation is None:
            observation = self._rows[identity] = _Observation(rule, facts, self._parameter)
        if observation.last == at.row:  # both answers of a pair
            return
        observation.last = at.row
        observation.count += 1
        if len(observation.places) < FIRST_ROWS:
            observation.places.append(at)

    def findings(self) -> tuple[Finding, ...]:
        """Every observation as a finding: first those about the data as a whole, then those about rows."""
        observations = (*self._single, *self._rows.values())
        return tuple(dict.fromkeys(finding for one in observations for finding in one.findings()))

    @property
    def refused(self) -> bool:
        """Whether anything so far is an error."""
        return any(finding.severity == ERROR for finding in self.findings())


def refuse_errors(observations: Observations) -> None:
    """Raise Refused for the errors among what was noticed."""
    errors = [finding for finding in observations.findings() if finding.severity == ERROR]
    if errors:
        raise Refused(errors)


def findings_of(rule: RuleFunction, **facts: Any) -> tuple[Finding, ...]:
    """The findings of a rule for these values."""
    return tuple(rule.RULE.apply(**facts))  # type: ignore[attr-defined]


def counted(numbers: Sequence[int], count: int, word: str = "rows") -> str:
    """` (5 rows: 1, 4, 9, …)`; nothing for a single one."""
    if count < 2:
        return ""
    first = ", ".join(map(str, numbers[:FIRST_ROWS]))
    return f" ({count} {word}: {first}{', …' if count > FIRST_ROWS else ''})"
