"""The run that a command resumes: what it was started with, compared parameter by parameter, and what its checkpoint records."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.output_dir import (
    STATE_FILE,
    WEIGHTS,
    Output,
    adapter_values,
    earlier_run,
    earlier_values,
    run_of,
    step_of,
)
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.param import Param
from autotrain_llm.declare.record import Record

EARLY_STOPPING = "EarlyStoppingCallback"  # the name of its state in a checkpoint


class Change(Record):
    """A parameter that differs from the run that is resumed. `given` is whether the user set the new value."""

    param: Param
    before: Any
    now: Any
    given: bool


class ResumedRun:
    """The run in `folder`, of which `checkpoint` is resumed; the folder is the checkpoint itself where it belongs to no run."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self.checkpoint, self.folder = checkpoint, folder

    @property
    def step(self) -> int:
        return step_of(self.checkpoint)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of its `run.json`; empty if that is missing or damaged."""
        return earlier_run(self.folder)

    def planned(self, *path: str) -> Any:
        """A value of the plan that it was started with, by the keys that lead to it; None if there is none."""
        value: Any = self.record.get("plan")
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def is_complete(self) -> bool:
        """Whether it ended and its finished model is there."""
        return self.record.get("status") == "ok" and any((self.folder / name).exists() for name in WEIGHTS)

    @cached_property
    def evaluations_without_improvement(self) -> int:
        """The count of early stopping at the checkpoint."""
        try:
            state = parse_json((self.checkpoint / STATE_FILE).read_text(encoding="utf-8"))
            return int(state["stateful_callbacks"][EARLY_STOPPING]["attributes"]["early_stopping_patience_counter"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def changes(self, config: Config) -> list[Change]:
        """The parameters that the trainer reads and that have another value now.

        Those of a mixin are compared only where it is on in both: otherwise its switch is the change. Without a record, only the values
        that the checkpoint itself implies are compared.
        """
        before = adapter_values(self.checkpoint) | earlier_values(self.folder)
        changes = []
        for name, was in before.items():
            if name not in PARAMS or PARAMS[name].secret or not config.applies(name):
                continue
            switch, now = GROUP[PARAMS[name].group].switch, config.value_of(name)
            is_on = not switch or name == switch or (config.value_of(switch) and before.get(switch))
            if is_on and not is_same(was, now):
                changes.append(Change(PARAMS[name], was, now, config.given(name)))
        return changes


def resumed_run(output: Output) -> ResumedRun | None:
    """The run that a command with this output folder resumes; None if it resumes none."""
    if output.checkpoint is None:
        return None
    if output.resume_from is None:
        return ResumedRun(output.checkpoint, output.folder)
    return ResumedRun(output.checkpoint, run_of(output.checkpoint.absolute()) or output.checkpoint)


def is_same(was: Any, now: Any) -> bool:
    """Whether two values of a flag mean the same: equal ones, lists in any order, or two names of one folder."""
    if isinstance(was, list) and isinstance(now, list | tuple):
        return set(was) == set(now)
    if isinstance(was, str) and isinstance(now, str) and was != now and Path(now).expanduser().exists():
        return Path(was).expanduser().resolve() == Path(now).expanduser().resolve()
    return bool(was == now)
