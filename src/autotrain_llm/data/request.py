"""`DataRequest`: everything that decides what the rows of a run are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from autotrain_llm.data.wording import parameter_of

ROW_SHAPES = ("documents", "conversations", "preferences", "scored", "graded", "prompts")
COLUMN_FLAGS = {
    "text_column": "--text-column",
    "prompt_column": "--prompt-text-column",
    "rejected_column": "--rejected-text-column",
    "reasoning_column": "--reasoning-column",
}
# The columns that decide what a row is; reasoning only comes before its answer.
SIDES = ("text_column", "prompt_column", "rejected_column")
# Where the data comes from and who may read it changes nothing about the rows themselves.
NOT_HASHED = ("token", "cache_dir", "offline", "path", "eval_path", "bytes_beside", "streaming")
Where = tuple[tuple[str, tuple[object, ...]], ...]


@dataclass(frozen=True)
class DataRequest:
    """Which rows, from where, in which shape.

    `rows` is one of ROW_SHAPES. `valid_split` is the name of a split, or a share ("0.1") or a number of rows ("200") to hold out.
    `max_samples` limits the rows to train on, `most_rows` those of either side that are read at all. `named` holds the column fields that the user gave; a column given there has to exist.
    `num_labels` is the number of scores or classes of graded rows. `context_columns` are put before the prompt, `ignored_columns` are not used and not reported. `keeps_columns` says that a reward function is given all columns.
    `where` are the values of columns with which a row is used at all; `format` is the only format that is recognised. `bytes_beside` is the size
    of the files that other requests of the same run read: together they decide whether rows are held in memory. `streaming` training rows
    are the first of a stream, whose others are read while they are trained on.
    """

    path: str
    rows: str = "conversations"
    train_split: str = "train"
    valid_split: str | None = None
    eval_path: str | None = None
    text_column: str | None = None
    prompt_column: str | None = None
    rejected_column: str | None = None
    reasoning_column: str | None = None
    context_columns: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    keeps_columns: bool = False
    num_labels: int = 1
    where: Where = ()
    format: str | None = None
    bytes_beside: int = 0
    named: tuple[str, ...] = ()
    max_samples: int | None = None
    most_rows: int | None = None
    streaming: bool = False
    seed: int = 42
    cache_dir: str | None = None
    revision: str | None = None
    offline: bool = False
    token: str | None = field(default=None, repr=False, compare=False)
    trainer: str = "sft"

    def settings(self) -> dict[str, object]:
        """The settings that are part of the fingerprint, besides the content of the files."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_HASHED}

    def is_named(self, column_field: str) -> bool:
        """Whether the user named this column."""
        return column_field in self.named and getattr(self, column_field) is not None


def column_parameter(column_field: str) -> str:
    """The parameter that names a column."""
    return parameter_of(COLUMN_FLAGS[column_field])
