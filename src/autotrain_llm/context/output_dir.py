"""The output folder: where it is, whether it holds a run already, which checkpoint a run goes on from."""

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
LONGEST_NAME = 80  # letters of a model's name in the name of a run
WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json")


def nearest_existing(path: Path) -> Path:
    """The path itself where it is there, else the folder above it that is, in which the rest would be made."""
    absolute = path.absolute()
    return next(part for part in (absolute, *absolute.parents) if part.exists())


class Output(Record):
    """The folder of a run. `named` is whether the user chose it."""

    folder: Path
    named: bool
    resume: bool
    resume_from: str | None

    @cached_property
    def holds_run(self) -> str | None:
        """What shows that a run was written here: the name of a file or folder, else None."""
        if not self.folder.is_dir():
            return None
        names = sorted(entry.name for entry in self.folder.iterdir())
        signs = [name for name in names if CHECKPOINT_NAME.match(name)]
        signs += [name for name in (RUN_FILE, CHECKPOINTS, *WEIGHTS) if name in names]
        return signs[0] if signs else None

    @cached_property
    def complete_checkpoints(self) -> tuple[Path, ...]:
        """Checkpoints that were written to their end, oldest first."""
        return tuple(path for path in self.checkpoints if is_complete(path))

    @cached_property
    def checkpoints(self) -> tuple[Path, ...]:
        folder = self.folder / CHECKPOINTS
        found = [path for path in folder.iterdir() if CHECKPOINT_NAME.match(path.name)] if folder.is_dir() else []
        return tuple(sorted(found, key=step_of))

    @cached_property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command goes on from, where it asks for one and there is one."""
        if self.resume_from:
            path = Path(self.resume_from).expanduser()
            return path if is_complete(path) else None
        if self.resume:
            return self.complete_checkpoints[-1] if self.complete_checkpoints else None
        return None


def run_of(checkpoint: Path) -> Path | None:
    """The run that a checkpoint lies in; None where it lies elsewhere."""
    return checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else None


def step_of(checkpoint: Path) -> int:
    match = CHECKPOINT_NAME.search(checkpoint.name)
    return int(match[1]) if match else -1


def is_complete(checkpoint: Path) -> bool:
    """The state file is written last, so that it marks a whole checkpoint."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    has_weights = any((checkpoint / name).exists() for name in WEIGHTS)
    return isinstance(state, dict) and has_weights and (checkpoint / "optimizer.pt").exists()


def earlier_run(folder: Path) -> dict[str, Any]:
    """What `run.json` says of an earlier run; empty where there is none."""
    try:
        document = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def earlier_values(folder: Path) -> dict[str, Any]:
    """The values that an earlier run had for its parameters; a record that is damaged tells none."""
    plan = earlier_run(folder).get("plan")
    parameters = plan.get("parameters") if isinstance(plan, dict) else None
    cells = parameters if isinstance(parameters, dict) else {}
    return {name: cell.get("value") for name, cell in cells.items() if isinstance(cell, dict)}


def adapter_values(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint itself tells of the flags it was made with: whether it holds an adapter, and of what kind."""
    path = checkpoint / "adapter_config.json"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"peft": path.exists()}
    if not isinstance(held, dict):
        return {"peft": True}
    names = {"lora_r": "r", "lora_alpha": "lora_alpha", "use_dora": "use_dora", "use_rslora": "use_rslora"}
    return {"peft": True, **{name: held[key] for name, key in names.items() if key in held}}


def earlier_sweep(folder: Path) -> str | None:
    """What the sweep in this folder is called; None where there is none."""
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
    number = 1
    while (runs / f"{config.trainer}-{model}-{number}").exists():
        number += 1
    return runs / f"{config.trainer}-{model}-{number}"
