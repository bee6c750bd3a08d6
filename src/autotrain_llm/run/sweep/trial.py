"""A trial: the command with other values, checked, planned and trained like any other run, in a folder of its own."""

from __future__ import annotations

import gc
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.metric_choice import best_metric, chooses_checkpoints
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.output_dir import find_output, status_of, step_of
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import as_tuple
from autotrain_llm.planning.plan import Plan, SweepPlan
from autotrain_llm.planning.run_inputs import inputs_of
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.failures import EnvironmentFailed, Interrupted, RunFailed
from autotrain_llm.run.report.read import read_log
from autotrain_llm.run.session.execute import execute
from autotrain_llm.run.session.run_report import RunReport
from autotrain_llm.run.sweep.initial_weights import InitialWeights

COMPLETE, PRUNED, FAILED, REFUSED = "complete", "pruned", "failed", "refused"
INTERRUPTED, LOST, RUNNING = "interrupted", "lost", "running"
ShouldPrune = Callable[[float], bool]  # given the metric of an evaluation, whether to stop the trial early


@dataclass
class Trial:
    """One trial and its result. `own` marks the trial with the command's own values, `intermediate` is the metric by step, `findings` why it was
    refused, `folder` relative to the output folder of the `host` that ran it, and `kills` how often its process was killed."""

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
    kills: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Trial:
        trial = cls(**entry)
        trial.intermediate = {int(step): value for step, value in trial.intermediate.items()}  # JSON's keys are strings
        return trial

    @property
    def why(self) -> str:
        """Why it has no result, in one line."""
        return self.failure or "; ".join(finding["message"] for finding in self.findings)


def folder_of(number: int) -> str:
    """The folder of a trial, relative to the output folder."""
    return f"sweep/trial-{number:03d}"


class Pruned(RunFailed):
    """The pruner stopped the trial early."""


class StudyUnreachable(EnvironmentFailed):
    """The study can't be read or written any more."""


class TrialProgress(ProgressCallback):
    """Forwards a trial's progress, records the metric of its evaluations, and stops a trial that is pruned."""

    def __init__(self, outer: ProgressCallback, metric: str, trial_record: Trial, should_prune: ShouldPrune) -> None:
        self.outer, self.metric, self.trial_record, self.should_prune = outer, metric, trial_record, should_prune
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
        if value is None or step <= 0 or not math.isfinite(value):  # step 0 is the model before training
            return
        self.trial_record.intermediate[step] = value
        if self.should_prune(value) and step < self.steps:
            raise Pruned(
                f"pruned after step {step} of {self.steps}: {self.metric} {value:.6g} is worse than that of other trials"
            )

    def finish(self) -> None:
        """Not forwarded: the trial is over, the sweep is not."""


class Trials:
    """Carries out the trials of one sweep, which share the process, the prepared rows and the initial weights."""

    def __init__(
        self, plan: Plan, context: RunContext, findings: tuple[Finding, ...], folder: Path, watch: ProgressCallback
    ) -> None:
        assert plan.sweep is not None
        self.sweep = plan.sweep
        self.folder, self.watch = folder, watch
        self.context = context
        self.base = base_of(context.config, plan.sweep)
        self.command_findings = frozenset(findings)  # reported once, with the command
        self.weights = InitialWeights()

    def carry_out(self, trial: Trial, should_prune: ShouldPrune) -> None:
        """Run a trial and write its result into `trial`. Raises Interrupted, and EnvironmentFailed where no trial could succeed (a full disk): the
        trial is carried on when the sweep is. Other failures are the trial's."""
        began = time.perf_counter()
        try:
            self.watch.trial(trial.number, trial.values, trial.own)
            self._run(trial, should_prune)
        except Pruned as pruned:
            trial.state, trial.failure = PRUNED, pruned.message
        except Interrupted as stopped:
            trial.state, trial.failure = INTERRUPTED, stopped.what
            raise
        except EnvironmentFailed as failure:
            trial.state, trial.failure = INTERRUPTED, failure.message
            raise
        except RunFailed as failure:
            trial.state, trial.failure = FAILED, failure.message
        except Exception as unforeseen:
            trial.state, trial.failure = FAILED, " ".join(f"{type(unforeseen).__name__}: {unforeseen}".split())
        finally:
            trial.seconds = round(trial.seconds + time.perf_counter() - began, 3)
            release_memory()

    def _run(self, trial: Trial, should_prune: ShouldPrune) -> None:
        folder = self.folder / trial.folder
        checked = self._checked(config_of(self.base, trial.values, folder), folder)
        trial.findings = [finding.as_json() for finding in checked.findings if finding not in self.command_findings]
        if checked.refused or checked.plan is None:
            trial.state = REFUSED
            return
        folder.mkdir(parents=True, exist_ok=True)  # so that a run that fails leaves its records
        checkpoint = checked.plan.output.checkpoint
        trial.intermediate = _evaluations(folder, self.sweep.metric, step_of(Path(checkpoint))) if checkpoint else {}
        watch = TrialProgress(self.watch, self.sweep.metric, trial, should_prune)
        inputs = inputs_of(checked.plan, checked.context, checked.findings)
        self._record(trial, execute(checked.plan, inputs, watch, self.weights, with_page=False))

    def _checked(self, config: Config, folder: Path) -> Checked:
        """The check of a trial that goes on from its newest checkpoint, if it was stopped and has one, or begins again."""
        if status_of(folder) not in (None, "ok") and find_output(config).newest_intact is not None:
            checked = preflight(config.replace({"resume": True}), earlier=self.context)
            if not checked.refused:
                return checked
        shutil.rmtree(folder, ignore_errors=True)
        return preflight(config, earlier=self.context)

    def _record(self, trial: Trial, report: RunReport) -> None:
        metric = report.metrics.get(self.sweep.metric)
        trial.metrics = {name: float(value) for name, value in report.metrics.items() if math.isfinite(value)}
        if metric is None or not math.isfinite(metric):
            reason = "was not reported" if metric is None else "is not a number"
            trial.state, trial.failure = FAILED, f"{self.sweep.metric} {reason}"
        else:
            trial.state, trial.metric = COMPLETE, float(metric)


def _evaluations(folder: Path, metric: str, until: int) -> dict[int, float]:
    """The metric of the evaluations before a run was stopped, by step."""
    entries = [entry for entry in history_of(folder) if 0 < entry["step"] <= until]
    return {int(entry["step"]): entry[metric] for entry in entries if entry.get(metric) is not None}


def history_of(folder: Path) -> list[dict[str, float]]:
    """The logged metrics of a run, a dictionary a step."""
    return [{name: value for name, value in entry.items() if name != "time"} for entry in read_log(folder)]


def base_of(config: Config, sweep: SweepPlan) -> Config:
    """The command of the sweep as a single run, with the sweep's validation split. A trial chooses its best checkpoint by the sweep's metric."""
    not_of_trials = tuple(param.name for param in PARAMS.values() if param.group == "Sweep" or not param.in_trials)
    base = config.without(not_of_trials)
    changes = {"valid_split": sweep.held_out} if sweep.held_out else {}
    if chooses_checkpoints(config):
        changes["metric_for_best_model"] = best_metric(config)[0]
    return base.replace(changes) if changes else base


def config_of(base: Config, values: Mapping[str, Any], folder: Path) -> Config:
    """The command of one trial. It saves checkpoints only where it has to choose one or the user asked for them: nothing resumes from them."""
    changes = {name: as_tuple(value) for name, value in values.items()}
    config = base.replace({**changes, "output_dir": str(folder)})
    saves = chooses_checkpoints(config) or config.given("save_strategy") or config.given("save_steps")
    return config if saves else config.replace({"save_strategy": "no"})


def release_memory() -> None:
    """Free the memory of the last trial before the next one allocates."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
