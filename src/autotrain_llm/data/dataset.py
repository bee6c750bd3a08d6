"""`Dataset`: rows that a trainer can read, and where they came from. Opening one is `load/`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autotrain_llm.data.example import Example
from autotrain_llm.data.wording import shown
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import plural

# What is done, how many rows of it so far, and of how many; 0 where that is not known.
Progress = Callable[[str, int, int], None]


# Where a column of a role stands in a row, for those whose role doesn't say it.
_WHERE = {
    "system": "system prompt",
    "history": "earlier turns",
    "context": "context before the prompt",
    "input": "input after the prompt",
    "choice": "choices after the prompt",
    "reasoning": "reasoning before the answer",
    "turn mask": "which turns are trained on",
    "reference": "the answer that evaluations compare with",
}
# Roles that only say what the others are; reward functions are given all columns but the main ones.
BESIDE = ("system", "history", "input", "turn mask", "reference", "context")
# Reasons why no part of a row is made of a column.
FOR_REWARDS, REPEATS_ROW = "for the reward function", "repeats the row"
DATA_FLAG, EVAL_FLAG = "--data-path", "--eval-dataset-path"


def role_kind(role: str) -> str:
    """The kind of a role that several columns can have: `context` of `context` and of `context 2`."""
    return role.split(" ")[0] if role[-1:].isdigit() else role


def where_in_row(role: str) -> str | None:
    """Where a column of this role stands in a row, in words; None if its role says it."""
    return _WHERE.get(role_kind(role))


def unused_in_words(columns: Mapping[str, str], unused: Mapping[str, str]) -> list[str]:
    """Which columns reward functions are given, and which are not used: of `columns`, by role, and those of which no part of a row is made."""
    given = [column for column, reason in unused.items() if reason == FOR_REWARDS]
    if given:
        given = [*(column for role, column in columns.items() if role_kind(role) in BESIDE), *given]
    others = [(shown(column), reason) for column, reason in unused.items() if reason != FOR_REWARDS]
    left = [f"{column} ({reason})" if reason == REPEATS_ROW else column for column, reason in others]
    return [
        *([f"given to the reward function: {', '.join(map(shown, given))}"] if given else []),
        *([f"not used: {', '.join(left)}"] if left else []),
    ]


@dataclass
class Dataset:
    """Rows that a trainer can read, and where they came from."""

    format: str
    columns: dict[str, str]
    train: Sequence[Example]
    valid: Sequence[Example]
    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    fingerprint: str
    path: str
    rows: str
    valid_format: str | None = None
    valid_from: str | None = None
    eval_path: str | None = None
    cut_short: bool = False  # whether reading stopped at `most_rows`
    unused: dict[str, str] = field(default_factory=dict)  # columns that no part of a row is made of, with the reason
    wrapper: str | None = None  # the column whose objects are the rows
    turns: str | None = None  # how turns are told, in words, where the rows don't say it
    first_choice: str = "A"  # the label of the first choice of a question
    held_out: str | None = None  # a split with evaluation rows that was not asked for
    labels: tuple[str, ...] = ()  # the names of the scores, or of the classes, of graded rows

    @property
    def in_memory(self) -> bool:
        """Whether all rows are held in memory."""
        return isinstance(self.train, list) and isinstance(self.valid, list)

    def describe(self) -> str:
        """One line: the format, the role of each column, and the columns that are not used."""
        mapping = ", ".join(f"{shown(column)} → {where_in_row(role) or role}" for role, column in self.columns.items())
        inside = f" inside {shown(self.wrapper)}" if self.wrapper else ""
        turns = f", {self.turns}" if self.turns else ""
        line = f"{self.path}: {self.format}{turns}{inside} ({mapping}), {plural(len(self.train), 'row')}"
        if self.valid:
            line += f"; {plural(len(self.valid), 'row')} for evaluation from {self.valid_from}"
        return "; ".join([line, *unused_in_words(self.columns, self.unused)])


def texts(dataset: Dataset) -> Iterator[str]:
    """All text that is trained on, string by string, in the order of the rows."""
    for example in dataset.train:
        yield from example.strings()
