"""The folders of a checkpoint whose model was divided among processes: each process writes its own parts."""

from __future__ import annotations

from pathlib import Path

SHARDED, SHARDED_MODEL, SHARDED_OPTIMIZER = "sharded", "sharded/model", "sharded/optimizer"


def has_parts(checkpoint: Path) -> bool:
    """Whether several processes wrote a checkpoint in parts."""
    return (checkpoint / SHARDED_OPTIMIZER).is_dir()


def has_model_in_parts(folder: Path) -> bool:
    """Whether the weights of a whole model lie in parts; an adapter's are always in one file."""
    return (folder / SHARDED_MODEL).is_dir()
