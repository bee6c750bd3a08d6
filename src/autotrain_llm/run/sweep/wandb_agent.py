"""Weights & Biases' side of a sweep: its server proposes values and keeps the trials, its agent asks for them one by one.

The sweep's id is kept in the output folder, so that `--resume` goes on with it. The user's own values, which a server knows no way to be
handed, are tried first and outside of it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.session.trackers import PROJECT
from autotrain_llm.run.sweep.records import read_trials
from autotrain_llm.run.sweep.trial import COMPLETE, RUNNING, Trial, Trials, folder_of

ID_FILE = "wandb.json"
METHODS = {"tpe": "bayes", "random": "random", "grid": "grid"}


def sweep_of_wandb(sweep: SweepPlan, root: Path, trials: Trials, written: Callable[[list[Trial]], None]) -> list[Trial]:
    """All trials, those of earlier processes in this folder among them."""
    wandb = import_module("wandb")
    agent = _Agent(wandb, sweep, root, trials, written)
    if sweep.own and not agent.done:
        agent.carry_out(sweep.own, own=True)
    left = sweep.trials - len(agent.done)
    if left > 0 and not agent.is_late():
        try:
            identity = _identity(wandb, sweep, root)
            wandb.agent(identity, function=agent.one, count=left, project=PROJECT)
        except Exception as fault:  # whatever the package raises without its server
            raise RunFailed(
                f"Weights & Biases gave no more trials ({type(fault).__name__}: {fault})", "--resume"
            ) from fault
    return agent.done


def described(sweep: SweepPlan) -> dict[str, Any]:
    """The sweep as Weights & Biases wants it."""
    return {
        "name": sweep.study,
        "method": METHODS[sweep.sampler],
        "metric": {"name": sweep.metric, "goal": sweep.direction},
        "parameters": {name: _parameter(name, space) for name, space in sweep.space.items()},
    }


def _parameter(name: str, space: Mapping[str, Any]) -> dict[str, Any]:
    if "choices" in space:
        return {"values": space["choices"]}
    whole, step = PARAMS[name].kind == "int", space["step"]
    if space["log"]:
        kind = "q_log_uniform_values" if whole else "log_uniform_values"
    elif step:
        kind = "q_uniform"
    else:
        kind = "int_uniform" if whole else "uniform"
    steps = {"q": step or 1} if kind.startswith("q_") else {}
    return {"distribution": kind, "min": space["low"], "max": space["high"], **steps}


def _identity(wandb: Any, sweep: SweepPlan, root: Path) -> str:
    """The id of the sweep on the server: the one of this folder, or a new one."""
    path = root / SWEEP / ID_FILE
    if path.exists():
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    identity = str(wandb.sweep(described(sweep), project=PROJECT))
    path.write_text(json.dumps({"id": identity, "project": PROJECT}) + "\n", encoding="utf-8")
    return identity


class _Agent:
    """Carries out what the server proposes."""

    def __init__(
        self,
        wandb: Any,
        sweep: SweepPlan,
        root: Path,
        trials: Trials,
        written: Callable[[list[Trial]], None],
    ) -> None:
        self.wandb, self.sweep, self.root, self.trials, self.written = wandb, sweep, root, trials, written
        self.done = [trial for trial in read_trials(root) if trial.state != RUNNING]
        self.number = 1 + max((trial.number for trial in read_trials(root)), default=-1)
        self.deadline = None if sweep.timeout is None else time.monotonic() + sweep.timeout

    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def one(self) -> None:
        """One trial with the values of the server's run."""
        os.environ.setdefault("WANDB_SILENT", "true")
        with self.wandb.init(dir=str(self.root / SWEEP)) as run:
            if self.is_late():
                return
            values = {name: run.config[name] for name in self.sweep.space}
            trial = self.carry_out(values, own=False)
            for step, value in trial.intermediate.items():
                run.log({self.sweep.metric: value}, step=step)
            if trial.state == COMPLETE:
                run.summary[self.sweep.metric] = trial.metric
            else:
                run.finish(exit_code=1)

    def carry_out(self, values: Mapping[str, Any], *, own: bool) -> Trial:
        """One trial, written down."""
        number, self.number = self.number, self.number + 1
        whole = {
            name: int(value) if PARAMS[name].kind == "int" and value is not None else value
            for name, value in values.items()
        }
        trial = Trial(number, whole, own=own, folder=folder_of(number), host=socket.gethostname())
        try:
            self.trials.carry_out(trial, lambda value: False)
        finally:
            self.done.append(trial)
            self.written(self.done)
            self.trials.watch.trial_done(trial.number, trial.state, trial.metric, False, trial.why)
        return trial
