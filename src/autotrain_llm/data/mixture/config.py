"""`MixtureConfig`: a mixture as its file describes it."""

from __future__ import annotations

from dataclasses import dataclass

from autotrain_llm.data.request import Where

ROWS, TOKENS = "rows", "tokens"
NONE = "none"  # as `validation` of a source: no row of it is held out


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a mixture. `weight` is None if no source has one; `validation` is a share, a number, a split's name, a path, or NONE."""

    name: str
    path: str
    weight: float | None = None
    format: str | None = None
    split: str = "train"
    where: Where = ()
    max_samples: int | None = None
    validation: str | None = None
    text_column: str | None = None
    prompt_text_column: str | None = None
    rejected_text_column: str | None = None
    reasoning_column: str | None = None
    context_columns: tuple[str, ...] = ()
    ignore_columns: tuple[str, ...] = ()
    line: int = 1


@dataclass(frozen=True)
class MixtureConfig:
    """The sources of a mixture, and how much of each an epoch has.

    An epoch has `total` rows (or tokens, if weights are shares of the tokens), or as many as it takes to go once through the source
    `epochs_of`, or by default as many as no source has to be repeated for. `lines` are the lines of its keys in the file.
    """

    file: str
    sources: tuple[SourceConfig, ...]
    weights_by: str = ROWS
    total: int | None = None
    epochs_of: str | None = None
    validation: str | None = None
    seed: int | None = None

    @property
    def is_validated(self) -> bool:
        """Whether any evaluation rows are named."""
        named = [self.validation if source.validation is None else source.validation for source in self.sources]
        return any(value not in (None, NONE) for value in named)
