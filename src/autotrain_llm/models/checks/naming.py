"""How findings about a model's files name it and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotrain_llm.declare.param import flag_of
from autotrain_llm.models.metadata import ModelMetadata


def label(metadata: ModelMetadata, parameter: str) -> str:
    """The flag, the name that the user gave, and for an adapter its base model."""
    base = metadata.model_located.name
    return f"{flag_of(parameter)} {metadata.name}" + (f" (on {base})" if base != metadata.name else "")


def first_of(names: Sequence[str], most: int = 4) -> str:
    """The first names of a long list."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def path_of(folder: Path | None, name: str) -> str | None:
    return str(folder / name) if folder else None
