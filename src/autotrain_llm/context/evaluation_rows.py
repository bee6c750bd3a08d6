"""Evaluation rows that no flag names: those of a prepared folder, and those that a sweep holds out."""

from __future__ import annotations

from autotrain_llm.config.resolved import DEFAULT, Config
from autotrain_llm.config.search_space import with_held_out_rows


def with_evaluation_rows(config: Config, *, files: bool = True) -> Config:
    """The configuration with the evaluation rows of a prepared folder, or a share for a sweep that has none. Without `files` no folder is
    looked into."""
    if files and config.data_path and not config.eval_dataset_path:
        from autotrain_llm.data.prepared.info import VALIDATION, prepared_folder

        prepared = prepared_folder(config.data_path)
        # A share that is named again is the one that was held out when the rows were prepared.
        same = prepared is not None and config.valid_split in (None, prepared.info.parameters.get("valid_split"))
        if prepared is not None and prepared.has_validation and same:
            source = DEFAULT if config.valid_split is None else config.source("valid_split")
            return config.replace({"valid_split": VALIDATION}, source=source)
    return with_held_out_rows(config)
