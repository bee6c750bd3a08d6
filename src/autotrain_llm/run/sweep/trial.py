"""One trial: the command with other values, checked, planned and carried out like any other run, in a folder of its own."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from autotrain_llm.checks.preflight import preflight
from autotrain_llm.config.metric_choice import best_metric, chooses_checkpoints
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import Plan, SweepPlan
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import Interrupted, RunFailed
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport
from autotrain_llm.run.sweep.initial_weights import Weights

COMPLETE, PRUNED, FAILED, REFUSED = "complete", "pruned", "failed", "refused"
INTERRUPTED, LOST, RUNNING = "interrupted", "lost", "running"
Stop = Callable[[float], bool]  # whether a trial that has just measured this should be given up


@dataclass
class Trial:
    """What is known of one trial. `intermediate` holds the metric by step; `findings` why it was refused; `folder` is relative to the output
    folder of the `host` that ran it."""

    number: int
    values: dict[str, Any]
    state: str = RUNNING
    metric: float | None = None
    own: bool = False
    intermediate: dict[int, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None
    folder: str = ""
    host: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def why(self) -> str:
        """Why it came to nothing, in a line."""
        return self.failure or "; ".join(finding["message"] for finding in self.findings)


def folder_of(number: int) -> str:
    """Where a trial lies, from the output folder."""
    return f"sweep/trial-{number:03d}"


class Pruned(RunFailed):
    """The pruner gave the trial up."""


class TrialWatch(ProgressCallback):
    """Passes on what a trial does, keeps the metric of its evaluations, and ends a trial that is to be given up."""

    def __init__(self, outer: ProgressCallback, metric: str, record: Trial, stop: Stop) -> None:
        self.outer, self.metric, self.record, self.stop_after = outer, metric, record, stop
        self.steps = 0

    def stage(self, text: str) -> None:
        self.outer.stage(text)

    def note(self, text: str) -> None:
        self.outer.note(text)

    def start(self, steps: int, done: int) -> None:
        self.steps = steps
        self.outer.start(steps, done)

    def step(self, step: int) -> None:
        self.outer.step(step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.outer.log(step, metrics)
        value = metrics.get(self.metric)
        if value is None or step <= 0 or not math.isfinite(value):  # what was measured before training is no trial's
            return
        self.record.intermediate[step] = value
        if self.stop_after(value) and step < self.steps:
            raise Pruned(
                f"given up after step {step} of {self.steps}: {self.metric} {value:.6g} is behind other trials"
            )

    def finish(self) -> None:
        """The trial is over; the sweep is not."""


class Trials:
    """Carries out the trials of one sweep. They share prepared rows, the process and the weights that were read once."""

    def __init__(
        self, plan: Plan, context: RunContext, findings: tuple[Finding, ...], folder: Path, watch: ProgressCallback
    ) -> None:
        assert plan.sweep is not None
        self.sweep = plan.sweep
        self.folder, self.watch = folder, watch
        self.context = context
        self.base = base_of(context.config, plan.sweep)
        self.known = frozenset(findings)  # said once, of the command itself
        self.weights = Weights()

    def carry_out(self, trial: Trial, stop: Stop) -> None:
        """Run a trial to whatever end; what became of it stands in `trial`. Raises Interrupted, and RunFailed on a full disk."""
        began = time.perf_counter()
        self.watch.trial(trial.number, trial.values, trial.own)
        try:
            self._run(trial, stop)
        except Pruned as given_up:
            trial.state, trial.failure = PRUNED, given_up.message
        except Interrupted as stopped:
            trial.state, trial.failure = INTERRUPTED, stopped.message.split(" To go on")[0]
            raise
        except RunFailed as failure:
            trial.state, trial.failure = FAILED, failure.message
            if failure.message.startswith("the disk is full"):
                raise
        except Exception as unforeseen:
            trial.state, trial.failure = FAILED, " ".join(f"{type(unforeseen).__name__}: {unforeseen}".split())
        finally:
            trial.seconds = round(time.perf_counter() - began, 3)
            release_memory()

    def _run(self, trial: Trial, stop: Stop) -> None:
        config = config_of(self.base, trial.values, self.folder / trial.folder)
        checked = preflight(config, earlier=self.context)
        trial.findings = [finding.as_json() for finding in checked.findings if finding not in self.known]
        if checked.refused or checked.plan is None:
            trial.state = REFUSED
            return
        (self.folder / trial.folder).mkdir(parents=True, exist_ok=True)  # so that a run that fails leaves its records
        watch = TrialWatch(self.watch, self.sweep.metric, trial, stop)
        inputs = inputs_of(checked.plan, checked.context, checked.findings)
        self._measure(trial, execute(checked.plan, inputs, watch, self.weights, with_page=False))

    def _measure(self, trial: Trial, report: RunReport) -> None:
        value = report.metrics.get(self.sweep.metric)
        trial.metrics = {name: float(number) for name, number in report.metrics.items() if math.isfinite(number)}
        if value is None or not math.isfinite(value):
            what = "was not reported" if value is None else "is not a number"
            trial.state, trial.failure = FAILED, f"{self.sweep.metric} {what}"
        else:
            trial.state, trial.metric = COMPLETE, float(value)


def base_of(config: Config, sweep: SweepPlan) -> Config:
    """The sweep's command as one of its runs, with the rows that the sweep holds out. A trial's best checkpoint is best at what trials are
    compared by."""
    of_the_sweep = tuple(param.name for param in PARAMS.values() if param.group == "Sweep" or not param.in_trials)
    base = config.without(of_the_sweep)
    changes = {"valid_split": sweep.held_out} if sweep.held_out else {}
    if chooses_checkpoints(config):
        changes["metric_for_best_model"] = best_metric(config)[0]
    return base.replace(changes) if changes else base


def config_of(base: Config, values: Mapping[str, Any], folder: Path) -> Config:
    """The command of one trial. Nobody goes on from a trial's checkpoint: none is written while it runs, but for what needs one."""
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    config = base.replace({**changes, "output_dir": str(folder)})
    asked = chooses_checkpoints(config) or config.given("save_strategy") or config.given("save_steps")
    return config if asked else config.replace({"save_strategy": "no"})


def release_memory() -> None:
    """Give back what the last trial held, before the next one asks for it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
