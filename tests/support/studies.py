"""Sweeps whose trials train nothing: each has evaluations that follow from its values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.sweep.database import connect
from autotrain_llm.run.sweep.restore import restored_study
from autotrain_llm.run.sweep.study import Study

EVALUATIONS = 4
RANGES: dict[str, Any] = {
    "lr": {"low": 1e-5, "high": 1e-3, "log": True, "step": None},
    "weight_decay": {"low": 0.0, "high": 0.3, "log": False, "step": None},
}
CHOICES: dict[str, Any] = {
    "lr": {"choices": [1e-4, 3e-4, 1e-3], "added": 0},
    "weight_decay": {"choices": [0.0, 0.1], "added": 0},
}


def sweep_plan(**changes: Any) -> SweepPlan:
    usual: dict[str, Any] = {
        "backend": "optuna",
        "study": "shared",
        "storage": None,
        "trials": 10,
        "timeout": None,
        "metric": "eval_loss",
        "direction": "minimize",
        "sampler": "random",
        "pruner": "none",
        "keep": 1,
        "written": True,
        "space": CHOICES if changes.get("sampler") == "grid" else RANGES,
        "own": {"lr": 1e-4, "weight_decay": 0.0},
        "held_out": None,
    }
    return SweepPlan(**{**usual, **changes})


def open_study(sweep: SweepPlan, root: Path, url: str | None = None) -> Study:
    """One process's view of a study in this folder, or in a database."""
    (root / "sweep").mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / "sweep" / ".writing")
    database = connect(url) if url else None
    return restored_study(sweep, root, 1, database, lock, pause=lambda seconds: time.sleep(0.02), note=print)


def carry_out(study: Study, evaluated: Callable[[], None] = lambda: None) -> None:
    """Carry out all trials. The loss falls from 1 towards a value that is the better, the nearer lr is to 3e-4."""
    while (trial := study.next()) is not None:
        best = abs(trial.values["lr"] - 3e-4) * 1e3 + trial.values["weight_decay"]
        trial.intermediate, trial.state = {}, "complete"
        for evaluation in range(1, EVALUATIONS + 1):
            evaluated()
            trial.intermediate[10 * evaluation] = value = best + (1 - best) / evaluation
            if study.should_prune(trial, value):
                trial.state = "pruned"
                break
        trial.metric = value if trial.state == "complete" else None
        study.tell(trial)


def results(study: Study) -> list[tuple[Any, ...]]:
    """What has to be the same however often a sweep was stopped."""
    return [(trial.number, trial.values, trial.state, trial.metric, trial.intermediate) for trial in study.trials()]


def in_a_process(act: Callable[[], None]) -> int:
    """Carry something out in a fork of this process; its exit status."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
