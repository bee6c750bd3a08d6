"""What became of a stage, from the files in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.context.output_dir import earlier_run
from autotrain_llm.run.artifacts.metric_changes import MetricChange, compared_in
from autotrain_llm.run.artifacts.records import finite
from autotrain_llm.run.report.read import is_number, read_log

OK, KEPT, LEFT_OUT, FAILED, REFUSED, INTERRUPTED, NOT_STARTED = (
    "ok", "kept", "left out", "failed", "refused", "interrupted", "not started",
)  # fmt: skip
FINISHED = (OK, KEPT)


class StageSummary(NamedTuple):
    """The numbers of a run: `metric` is the first of its trainer's headline metrics that it has, with its first and last value."""

    trainer: str
    steps: int | None
    seconds: float | None
    metric: MetricChange | None


@dataclass(frozen=True)
class StageResult:
    """One stage of a pipeline after a command: `status` is one of those above, `findings` those of a run that was refused, `message` and `fix` why
    it ended early, `report` the run's own."""

    name: str
    status: str
    why: str
    model: Path
    summary: StageSummary
    findings: tuple[dict[str, Any], ...] = ()
    message: str | None = None
    fix: str | None = None
    report: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        change = self.summary.metric
        metric = None if change is None else {"name": change.name, "before": change.before, "after": change.after}
        document = {
            "name": self.name,
            "status": self.status,
            "why": self.why,
            "output_dir": str(self.model),
            "trainer": self.summary.trainer,
            "steps": self.summary.steps,
            "seconds": self.summary.seconds,
            "metric": metric,
            "findings": list(self.findings),
            "message": self.message,
            "fix": self.fix,
            "report": self.report,
        }
        return {name: finite(value) for name, value in document.items()}


@dataclass(frozen=True)
class PipelineReport:
    """The outcome of a command with stages. `seconds` is the time of this command."""

    output_dir: Path
    status: str
    stages: tuple[StageResult, ...]
    seconds: float
    signal: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The `report` of the JSON output."""
        stages = [stage.as_json() for stage in self.stages]
        return {"output_dir": str(self.output_dir), "seconds": self.seconds, "stages": stages}

    @property
    def ended_early(self) -> StageResult | None:
        """The stage that failed or was stopped; None if none was."""
        early = (FAILED, REFUSED, INTERRUPTED)
        return next((stage for stage in self.stages if stage.status in early), None)


def summary_of(folder: Path, trainer: str, seconds: float | None) -> StageSummary:
    """The numbers of the run in a folder; `seconds` are those of all attempts."""
    run = earlier_run(folder)
    outcome = run.get("outcome")
    steps = outcome.get("steps") if isinstance(outcome, dict) else None
    return StageSummary(trainer, steps if isinstance(steps, int) else None, seconds, main_metric(folder, trainer))


def main_metric(folder: Path, trainer: str) -> MetricChange | None:
    """The headline metric of a run, before and after: of enhanced evaluation if it was made, else the first and the last evaluation, else the
    first and the last log of the training."""
    changes = {change.name: change for change in compared_in(folder) if change.change is not None}
    entries = read_log(folder)
    for name in TRAINERS[trainer].headline:
        for key in (name, f"eval_{name}"):
            if key in changes:
                return changes[key]
        for key in (f"eval_{name}", name):
            values = [entry[key] for entry in entries if is_number(entry.get(key))]
            if values:
                return MetricChange(key, values[0] if len(values) > 1 else None, values[-1])
    return None
