"""Weights & Biases' side of a sweep: its server proposes values and stores the trials, its agent requests them one by one.

The id of the sweep is in the output folder, for `--resume`. The command's own values, which can't be enqueued on the server, are tried first and
without it.
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
from autotrain_llm.planning.trackers import project_of
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.sweep.records import read_trials
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, RUNNING, Trial, Trials, folder_of

ID_FILE = "wandb.json"
METHODS = {"tpe": "bayes", "random": "random", "grid": "grid"}


def wandb_trials(
    sweep: SweepPlan, root: Path, trials: Trials, write_records: Callable[[list[Trial]], None]
) -> list[Trial]:
    """Carry out the trials; returns them with those of earlier processes in this folder."""
    wandb = import_module("wandb")
    agent = _Agent(wandb, sweep, root, trials, write_records)
    for trial in agent.unfinished:
        agent.carry_out(trial.values, own=trial.own, earlier=trial)
    if sweep.own and not agent.done:
        agent.carry_out(sweep.own, own=True)
    remaining = sweep.trials - len(agent.done)
    if remaining > 0 and not agent.is_late():
        try:
            usual = project_of("wandb", trials.base, os.environ)
            sweep_id, project = _identify(wandb, sweep, root, usual)
            wandb.agent(sweep_id, function=agent.server_trial, count=remaining, project=project)
        except Exception as fault:  # whatever the package raises without its server
            raise RunFailed(
                f"Weights & Biases gave no more trials ({type(fault).__name__}: {fault})", "--resume"
            ) from fault
    return agent.done


def sweep_config(sweep: SweepPlan) -> dict[str, Any]:
    """The configuration of the sweep for `wandb.sweep`."""
    return {
        "name": sweep.study,
        "method": METHODS[sweep.sampler],
        "metric": {"name": sweep.metric, "goal": sweep.direction},
        "parameters": {name: _parameter(name, space) for name, space in sweep.space.items()},
    }


def _parameter(name: str, space: Mapping[str, Any]) -> dict[str, Any]:
    if "choices" in space:
        return {"values": space["choices"]}
    is_int, step = PARAMS[name].kind == "int", space["step"]
    if space["log"]:
        kind = "q_log_uniform_values" if is_int else "log_uniform_values"
    elif step:
        kind = "q_uniform"
    else:
        kind = "int_uniform" if is_int else "uniform"
    steps = {"q": step or 1} if kind.startswith("q_") else {}
    return {"distribution": kind, "min": space["low"], "max": space["high"], **steps}


def _identify(wandb: Any, sweep: SweepPlan, root: Path, project: str) -> tuple[str, str]:
    """The id of the sweep on the server and its project: those of this folder, or of a new sweep in this project."""
    path = root / SWEEP / ID_FILE
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        return str(document["id"]), str(document["project"])
    sweep_id = str(wandb.sweep(sweep_config(sweep), project=project))
    path.write_text(json.dumps({"id": sweep_id, "project": project}) + "\n", encoding="utf-8")
    return sweep_id, project


class _Agent:
    """Carries out the trials that the server proposes."""

    def __init__(
        self,
        wandb: Any,
        sweep: SweepPlan,
        root: Path,
        trials: Trials,
        write_records: Callable[[list[Trial]], None],
    ) -> None:
        self.wandb, self.sweep, self.root, self.trials = wandb, sweep, root, trials
        self.write_records = write_records
        known = read_trials(root)
        self.unfinished = [trial for trial in known if trial.state in (RUNNING, INTERRUPTED)]
        self.done = [trial for trial in known if trial.state not in (RUNNING, INTERRUPTED)]
        self.next_number = 1 + max((trial.number for trial in known), default=-1)
        self.deadline = None if sweep.timeout is None else time.monotonic() + sweep.timeout

    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def server_trial(self) -> None:
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

    def carry_out(self, values: Mapping[str, Any], *, own: bool, earlier: Trial | None = None) -> Trial:
        """Carry out one trial, a new one or one that was stopped `earlier`, and write the records."""
        number = earlier.number if earlier else self.next_number
        self.next_number = max(self.next_number, number + 1)
        typed = {
            name: int(value) if PARAMS[name].kind == "int" and value is not None else value
            for name, value in values.items()
        }
        trial = Trial(number, typed, own=own, folder=folder_of(number), host=socket.gethostname())
        try:
            self.trials.carry_out(trial, lambda value: False)
        finally:
            self.done = sorted([*self.done, trial], key=lambda done: done.number)
            self.write_records(self.done)
            self.trials.watch.trial_done(trial.number, trial.state, trial.metric, False, trial.why)
        return trial
