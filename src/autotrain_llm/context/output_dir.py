"""The output folder: its path, whether it holds a run already, and the checkpoint to resume from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.declare.digests import BYTES, is_unchanged
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.parts import SHARDED_MODEL, has_parts
from autotrain_llm.declare.record import Record
from autotrain_llm.params.launching import AUTO

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
# Keys of run.json: the seconds of all attempts at a run, when one has ended, and of those before this one, when it begins.
SECONDS, EARLIER_SECONDS = "seconds", "earlier_seconds"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"  # of "started"
LOCK_FILE = ".lock"
CHECKPOINTS = "checkpoints"
SWEEP = "sweep"
TRAINED_ROWS = "trained_rows.json"  # a few rows as the run trains on them
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)$")
STREAM_FILE = "stream.json"  # of a checkpoint: where each process stands in rows that are streamed
STATE_FILE = "trainer_state.json"
CHECKPOINT_FILE = "checkpoint.json"  # lists the other files of a checkpoint, with size and digest; written last
PROCESSES = "processes"  # its key for the number of processes that wrote the checkpoint
KILLED = "killed"  # the status of a run that had no time to write how it ended
LONGEST_NAME = 80  # characters of a model's name in the name of a run
ADAPTER_WEIGHTS = "adapter_model.safetensors"
WEIGHTS = ("model.safetensors", ADAPTER_WEIGHTS, "model.safetensors.index.json")
# The states of a checkpoint; several processes write one of random numbers each: rng_state_0.safetensors and so on.
STATES, RANDOM_STATE = ("optimizer", "scheduler"), "rng_state"
# How they are written, and how earlier versions, TRL's trainers and states that are no plain tensors have them.
PLAIN, BY_TORCH = ".safetensors", (".pt", ".pth")


def nearest_existing(path: Path) -> Path:
    """The path itself if it exists, else its nearest parent that does."""
    absolute = path.absolute()
    return next(ancestor for ancestor in (absolute, *absolute.parents) if ancestor.exists())


class Output(Record):
    """The folder of a run. `named` is whether the user chose it.

    `resume` is whether the command goes on from a checkpoint in it, `resume_from` names another one. `begins` is whether it may also begin, where there is
    no checkpoint yet: the same command can be run again and again.
    """

    folder: Path
    named: bool
    resume: bool
    resume_from: str | None
    begins: bool = False

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
        """Checkpoints that can be resumed from, oldest first."""
        return tuple(path for path in self.checkpoints if is_complete(path))

    @cached_property
    def newest(self) -> Path | None:
        """The newest checkpoint whose writing was finished; it may have been damaged since."""
        return next((path for path in reversed(self.checkpoints) if was_finished(path)), None)

    @cached_property
    def newest_intact(self) -> Path | None:
        """The newest checkpoint whose files are all there and unchanged."""
        return next((path for path in reversed(self.checkpoints) if is_intact(path)), None)

    @cached_property
    def checkpoints(self) -> tuple[Path, ...]:
        return checkpoints_in(self.folder)

    @cached_property
    def begins_again(self) -> bool:
        """Whether the command begins in a folder in which it was stopped before its first checkpoint was complete. A finished model stays."""
        left_nothing = self.newest is None and not any((self.folder / name).exists() for name in WEIGHTS)
        return self.begins and self.checkpoint is None and left_nothing and self.holds_run is not None

    @property
    def goes_on(self) -> bool:
        """Whether a run that is in the folder already is continued, or was stopped before it had anything to go on from."""
        return self.checkpoint is not None or self.begins_again

    @cached_property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command resumes from; None if it does not resume, or can't."""
        if not self.resume_from:
            return self.newest_intact if self.resume else None
        path = Path(self.resume_from).expanduser()
        return path if is_intact(path) else None


def checkpoints_in(run: Path) -> tuple[Path, ...]:
    """The checkpoints of a run, oldest first, also those that are not complete."""
    folder = run / CHECKPOINTS
    folders = [path for path in folder.iterdir() if CHECKPOINT_NAME.match(path.name)] if folder.is_dir() else []
    return tuple(sorted(folders, key=step_of))


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; None if it is not in a run's folder."""
    return checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else None


def step_of(checkpoint: Path) -> int:
    match = CHECKPOINT_NAME.search(checkpoint.name)
    return int(match[1]) if match else -1


def was_finished(checkpoint: Path) -> bool:
    """Whether the writing of a checkpoint came to its end: its state file is written last, and of parts, which are written meanwhile, their list."""
    has_list = not has_parts(checkpoint) or _document(checkpoint / CHECKPOINT_FILE) is not None
    return has_list and _document(checkpoint / STATE_FILE) is not None


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has everything that a resumed run needs to end as if it had not been stopped."""
    return was_finished(checkpoint) and not missing_from(checkpoint)


def is_intact(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete and none of its files has changed since they were written. Reads all of them."""
    return is_complete(checkpoint) and not changed_in(checkpoint)


def changed_in(checkpoint: Path) -> tuple[str, ...]:
    """The files of a checkpoint whose content is not what was written. A checkpoint of an earlier version has no digests."""
    return tuple(
        name
        for name, entry in _listed_files(checkpoint).items()
        if isinstance(entry, dict) and (checkpoint / name).exists() and not is_unchanged(checkpoint / name, entry)
    )


def _listed_files(checkpoint: Path) -> dict[str, Any]:
    """What the list of a checkpoint has for each of its files: size and digest; empty without a list."""
    files = (_document(checkpoint / CHECKPOINT_FILE) or {}).get("files")
    return files if isinstance(files, dict) else {}


def missing_from(checkpoint: Path) -> tuple[str, ...]:
    """The files that a checkpoint lacks, or has in another size than they were written with: those of every run, and those that its run
    has listed. One that has no list is of an earlier version, or was not finished."""
    missing = [name + PLAIN for name in STATES if not _has_state(checkpoint, name)]
    missing += [] if (checkpoint / STATE_FILE).exists() else [STATE_FILE]
    missing += [] if any((checkpoint / name).exists() for name in (*WEIGHTS, SHARDED_MODEL)) else [WEIGHTS[0]]
    missing += _missing_random_states(checkpoint)
    for name, entry in _listed_files(checkpoint).items():
        path, size = checkpoint / name, entry.get(BYTES) if isinstance(entry, dict) else entry
        if not path.is_file():
            missing.append(name)
        elif path.stat().st_size != size:
            missing.append(f"{name} ({path.stat().st_size} bytes of {size})")
    return tuple(dict.fromkeys(missing))


def _missing_random_states(checkpoint: Path) -> list[str]:
    """One process writes one file; several write one each, as many as its run had processes."""
    if _has_state(checkpoint, RANDOM_STATE):
        return []
    present = {path.stem for path in checkpoint.glob(f"{RANDOM_STATE}_*") if path.suffix in (PLAIN, *BY_TORCH)}
    numbers = [int(match[1]) for name in present if (match := re.fullmatch(RANDOM_STATE + r"_(\d+)", name))]
    # The checkpoint says how many there were; a run that goes on with another number has its own in its record.
    own = (_document(checkpoint / CHECKPOINT_FILE) or {}).get(PROCESSES)
    processes = own if isinstance(own, int) else _planned_processes(checkpoint)
    count = max(
        [0, *(number + 1 for number in numbers), processes if isinstance(processes, int) and processes > 1 else 0]
    )
    expected = [f"{RANDOM_STATE}_{process}" for process in range(count)] or [RANDOM_STATE]
    return [name + PLAIN for name in expected if name not in present]


def _planned_processes(checkpoint: Path) -> Any:
    """The number of processes in the record of a checkpoint's run: for checkpoints that don't say it themselves."""
    run = run_of(checkpoint.absolute())
    plan = earlier_run(run).get("plan") if run else None
    schedule = plan.get("schedule") if isinstance(plan, dict) else None
    return schedule.get("processes") if isinstance(schedule, dict) else None


def _has_state(checkpoint: Path, name: str) -> bool:
    return any((checkpoint / (name + suffix)).exists() for suffix in (PLAIN, *BY_TORCH))


def _document(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file is missing or damaged."""
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def earlier_run(folder: Path) -> dict[str, Any]:
    """The content of `run.json`; empty if there is no earlier run."""
    return _document(folder / RUN_FILE) or {}


def status_of(folder: Path) -> str | None:
    """How the run in this folder ended: its own word, `killed` where it says `running` and no process holds the folder; None without a run."""
    return status_in(earlier_run(folder), folder)


def status_in(run: Mapping[str, Any], folder: Path) -> str | None:
    """The same, by the content of `run.json`."""
    status = run.get("status")
    if status == "running" and owner_of_lock(folder / LOCK_FILE) is None:
        return KILLED
    return str(status) if status else None


def seconds_of(run: Mapping[str, Any], folder: Path) -> float:
    """The seconds of all attempts at a run, by the content of `run.json`; of one that was killed until its last log."""
    total = _number(run.get(SECONDS))
    if total is not None:
        return total
    return (_number(run.get(EARLIER_SECONDS)) or 0.0) + _seconds_until_last_log(run, folder)


def _seconds_until_last_log(run: Mapping[str, Any], folder: Path) -> float:
    try:
        began = datetime.strptime(str(run.get("started")), TIME_FORMAT).timestamp()
        lines = (folder / METRICS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return 0.0
    for line in reversed(lines):  # the last may be cut
        with suppress(ValueError, AttributeError):
            last = _number(parse_json(line).get("time"))
            if last is not None:
                return round(max(0.0, last - began), 3)
    return 0.0


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


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
        settings = parse_json(path.read_text(encoding="utf-8"))
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


def find_output(config: Config, was_restarted: bool = False) -> Output:
    """The output folder of a command; without a name, the next free number. One that `was_restarted` goes on where it was, whatever it was told at first."""
    named = config.output_dir
    folder = Path(named).expanduser() if named else _next_free(config)
    if config.resume_from_checkpoint and not named:
        checkpoint = Path(config.resume_from_checkpoint).expanduser().resolve()
        run = run_of(checkpoint)
        if run is not None:
            folder, named = run, str(run)
    begins = config.resume == AUTO or (was_restarted and bool(named) and not config.resume)
    output = Output(folder, bool(named), bool(config.resume) or begins, config.resume_from_checkpoint, begins)
    # The run has gone further than the checkpoint that it was told to go on from.
    is_further = was_restarted and output.resume_from and output.newest_intact
    return output.replace(resume_from=None) if is_further else output


def _next_free(config: Config) -> Path:
    model = re.sub(r"[^\w.-]+", "-", str(config.model or "model").rstrip("/").split("/")[-1]).strip("-.")[:LONGEST_NAME]
    runs = Path("runs")
    index = 1
    while (runs / f"{config.trainer}-{model}-{index}").exists():
        index += 1
    return runs / f"{config.trainer}-{model}-{index}"
