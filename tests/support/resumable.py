"""Folders of runs that can be resumed, as files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILES = (
    "model.safetensors",
    "optimizer.safetensors",
    "scheduler.safetensors",
    "rng_state.safetensors",
    "trainer_state.json",
)


def write_checkpoint(run: Path, step: int, without: str = "") -> Path:
    """A checkpoint as it lies on disk, with one of its files left out."""
    folder = run / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in FILES:
        if name != without:
            (folder / name).write_text("{}")
    return folder


def write_run(run: Path, status: str = "ok", **parameters: Any) -> Path:
    """A folder that a run has written."""
    run.mkdir(parents=True, exist_ok=True)
    cells = {name: {"value": value, "source": "command line"} for name, value in parameters.items()}
    (run / "run.json").write_text(json.dumps({"status": status, "plan": {"parameters": cells}}))
    return run
