"""Evaluation rows that no flag names: those of a prepared folder, and those that a sweep holds out."""

from __future__ import annotations

from autotrain_llm.config.resolved import DEFAULT, Config
from autotrain_llm.config.search_space import with_held_out_rows


def with_evaluation_rows(config: Config, *, files: bool = True) -> Config:
    """The configuration with the evaluation rows of a prepared folder, or a share for a sweep that has none. Without `files` no folder is
    looked into."""
    if files and config.data_path and not (config.valid_split or config.eval_dataset_path):
        from autotrain_llm.data.prepared.info import VALIDATION, prepared_folder

        prepared = prepared_folder(config.data_path)
        if prepared is not None and prepared.has_validation:
            return config.replace({"valid_split": VALIDATION}, source=DEFAULT)
    return with_held_out_rows(config)
