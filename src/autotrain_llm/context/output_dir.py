"""The output folder: its path, whether it holds a run already, and the checkpoint to resume from."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.record import Record

RUN_FILE = "run.json"
LOCK_FILE = ".lock"
CHECKPOINTS = "checkpoints"
SWEEP = "sweep"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)$")
STATE_FILE = "trainer_state.json"
LONGEST_NAME = 80  # characters of a model's name in the name of a run
WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json")


def nearest_existing(path: Path) -> Path:
    """The path itself if it exists, else its nearest parent that does."""
    absolute = path.absolute()
    return next(ancestor for ancestor in (absolute, *absolute.parents) if ancestor.exists())


class Output(Record):
    """The folder of a run. `named` is whether the user chose it."""

    folder: Path
    named: bool
    resume: bool
    resume_from: str | None

    @cached_property
    def holds_run(self) -> str | None:
        """The name of a file or folder that shows that a run was written here; None if there is none."""
        if not self.folder.is_dir():
            return None
        names = sorted(entry.name for entry in self.folder.iterdir())
        signs = [name for name in names if CHECKPOINT_NAME.match(name)]
        signs += [name for name in (RUN_FILE, CHECKPOINTS, *WEIGHTS) if name in names]
        return signs[0] if signs else None

    @cached_property
    def complete_checkpoints(self) -> tuple[Path, ...]:
        """Checkpoints that were written completely, oldest first."""
        return tuple(path for path in self.checkpoints if is_complete(path))

    @cached_property
    def checkpoints(self) -> tuple[Path, ...]:
        folder = self.folder / CHECKPOINTS
        folders = [path for path in folder.iterdir() if CHECKPOINT_NAME.match(path.name)] if folder.is_dir() else []
        return tuple(sorted(folders, key=step_of))

    @cached_property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command resumes from; None if it does not resume, or there is no complete checkpoint."""
        if self.resume_from:
            path = Path(self.resume_from).expanduser()
            return path if is_complete(path) else None
        if self.resume:
            return self.complete_checkpoints[-1] if self.complete_checkpoints else None
        return None


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; None if it is not in a run's folder."""
    return checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else None


def step_of(checkpoint: Path) -> int:
    match = CHECKPOINT_NAME.search(checkpoint.name)
    return int(match[1]) if match else -1


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely: its state file is written last."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    has_weights = any((checkpoint / name).exists() for name in WEIGHTS)
    return isinstance(state, dict) and has_weights and (checkpoint / "optimizer.pt").exists()


def earlier_run(folder: Path) -> dict[str, Any]:
    """The content of `run.json`; empty if there is no earlier run."""
    try:
        document = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def earlier_values(folder: Path) -> dict[str, Any]:
    """The parameter values of an earlier run; empty if its record is missing or damaged."""
    plan = earlier_run(folder).get("plan")
    parameters = plan.get("parameters") if isinstance(plan, dict) else None
    cells = parameters if isinstance(parameters, dict) else {}
    return {name: cell.get("value") for name, cell in cells.items() if isinstance(cell, dict)}


def adapter_values(checkpoint: Path) -> dict[str, Any]:
    """The values of LoRA parameters that a checkpoint implies: whether it holds an adapter, and of what kind."""
    path = checkpoint / "adapter_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"peft": path.exists()}
    if not isinstance(settings, dict):
        return {"peft": True}
    names = {"lora_r": "r", "lora_alpha": "lora_alpha", "use_dora": "use_dora", "use_rslora": "use_rslora"}
    return {"peft": True, **{name: settings[key] for name, key in names.items() if key in settings}}


def earlier_sweep(folder: Path) -> str | None:
    """The name of the study in this folder; None if there is no sweep."""
    plan = earlier_run(folder).get("plan")
    sweep = plan.get("sweep") if isinstance(plan, dict) else None
    return sweep.get("study") if isinstance(sweep, dict) else None


def find_output(config: Config) -> Output:
    """The output folder of a command; without a name, the next free number."""
    named = config.output_dir
    folder = Path(named).expanduser() if named else _next_free(config)
    if config.resume_from_checkpoint and not named:
        checkpoint = Path(config.resume_from_checkpoint).expanduser().resolve()
        run = run_of(checkpoint)
        if run is not None:
            folder, named = run, str(run)
    return Output(folder, bool(named), bool(config.resume), config.resume_from_checkpoint)


def _next_free(config: Config) -> Path:
    model = re.sub(r"[^\w.-]+", "-", str(config.model or "model").rstrip("/").split("/")[-1]).strip("-.")[:LONGEST_NAME]
    runs = Path("runs")
    index = 1
    while (runs / f"{config.trainer}-{model}-{index}").exists():
        index += 1
    return runs / f"{config.trainer}-{model}-{index}"
