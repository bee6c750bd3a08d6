"""The model that a finished model's training started from, which `--against base` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.context.output_dir import CHECKPOINTS, earlier_run
from autotrain_llm.models.locate import ADAPTER, SCRATCH

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata

BASE = "base"


def second_model(name: str, first: ModelMetadata) -> str | None:
    """The model that `--against` names; None if that is the starting model of the first, and not known."""
    return starting_model(first) if name == BASE else name


def starting_model(metadata: ModelMetadata) -> str | None:
    """The model that a run started from, by its record; else an adapter's base. None if neither is known, or it was a new model."""
    located = metadata.located
    folder = located.folder
    if folder is not None and folder.parent.name == CHECKPOINTS:
        folder = folder.parent.parent
    plan = earlier_run(folder).get("plan") if folder is not None else None
    model = plan.get("model") if isinstance(plan, dict) else None
    kind, name = (model.get("kind"), model.get("name")) if isinstance(model, dict) else (None, None)
    if (
        located.base is not None and kind != ADAPTER
    ):  # its address is absolute, where that of the record may be relative
        return located.base.name
    return str(name) if name and kind != SCRATCH else None
