"""`dataset_info.json`: what `autotrain prepare` wrote into a folder, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.declare.digests import is_unchanged
from autotrain_llm.declare.document import parse_json

INFO, TOKENS_FOLDER = "dataset_info.json", "tokens"
TRAIN, VALIDATION = "train", "validation"
PREPARED_BY, FORMAT_VERSION = "autotrain-llm", 1


@dataclass(frozen=True)
class SplitInfo:
    """One file of rows."""

    file: str
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class SourceInfo:
    """One file that rows were read from; a data set on the Hub has no size."""

    path: str
    bytes: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class TokensInfo:
    """The rows as tokens: the model and the tokenizer by name, digests of the tokenizer and the template, and how they were made."""

    model: str | None
    tokenizer: str
    tokenizer_digest: str
    template: str | None
    template_digest: str | None
    preparation: dict[str, Any]
    statistics: dict[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class PreparedInfo:
    """What a folder of prepared rows holds.

    `rows` is the shape of rows that the trainer reads, and `format` that of the source; `shape` and `columns` are those of the files.
    `parameters` are those that were given, `unused` the columns that no part of a row is made of, with the reason, and `renamed` columns that
    have another name in the source. `labels` are the names of the scores, or of the classes, of graded rows.
    """

    trainer: str
    rows: str
    format: str
    shape: str
    columns: dict[str, str]
    splits: dict[str, SplitInfo]
    sources: tuple[SourceInfo, ...]
    parameters: dict[str, Any]
    fingerprint: str
    unused: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    mixture: dict[str, Any] | None = None
    tokens: TokensInfo | None = None
    version: str = ""

    def as_json(self) -> dict[str, Any]:
        """The document, without what is empty."""
        document = {"prepared_by": PREPARED_BY, "format_version": FORMAT_VERSION, **asdict(self)}
        return {name: value for name, value in document.items() if value not in (None, {}, (), [])}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PreparedInfo:
        """The info of a document. Raises KeyError, TypeError or ValueError if it is none."""
        if document["prepared_by"] != PREPARED_BY or document["format_version"] != FORMAT_VERSION:
            raise ValueError("another tool or version")
        values = {name: value for name, value in document.items() if name not in ("prepared_by", "format_version")}
        values["splits"] = {name: SplitInfo(**split) for name, split in values["splits"].items()}
        values["sources"] = tuple(SourceInfo(**source) for source in values["sources"])
        for name in ("findings", "labels"):
            values[name] = tuple(values.get(name, ()))
        values["tokens"] = TokensInfo(**values["tokens"]) if values.get("tokens") else None
        return cls(**values)


@dataclass(frozen=True)
class PreparedFolder:
    """A folder of prepared rows."""

    folder: Path
    info: PreparedInfo

    @property
    def has_validation(self) -> bool:
        return VALIDATION in self.info.splits

    @property
    def tokens(self) -> Path:
        """The folder of the rows as tokens."""
        return self.folder / TOKENS_FOLDER

    def changed_files(self) -> list[str]:
        """The files of rows that are not what was written: changed, or missing."""
        splits = self.info.splits.values()
        return [split.file for split in splits if not is_unchanged(self.folder / split.file, asdict(split))]


def prepared_folder(path_name: str | None) -> PreparedFolder | None:
    """The prepared rows at a path; None if they are something else, or written by another version."""
    if path_name is None:
        return None
    try:
        folder = Path(path_name).expanduser()
        document = parse_json((folder / INFO).read_text(encoding="utf-8"))
        return PreparedFolder(folder, PreparedInfo.from_json(document))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):  # RuntimeError: `~` of nobody
        return None
