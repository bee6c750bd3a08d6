"""How the rows were written that a model was trained on, wherever its run has recorded it."""

from __future__ import annotations

from autotrain_llm.context.output_dir import run_of
from autotrain_llm.data.tokenize.prompt_format import PromptFormat, read_prompt_format
from autotrain_llm.models.metadata import ModelMetadata


def trained_format(metadata: ModelMetadata) -> PromptFormat | None:
    """The format of a finished model, or of the run that a checkpoint belongs to; None for a model that was trained elsewhere."""
    folder = metadata.located.folder
    return None if folder is None else read_prompt_format(run_of(folder) or folder)
