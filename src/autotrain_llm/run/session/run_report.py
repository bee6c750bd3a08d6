"""The report of a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import duration
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.summary import summary_html
from autotrain_llm.run.artifacts import records

if TYPE_CHECKING:
    from autotrain_llm.run.report.headline import Headline


@dataclass
class RunReport:
    """The outcome of a plan. `seconds` are those of all attempts at it, `history` has one dictionary per log, and `files` are the names at the root of the
    output folder."""

    plan: Plan
    output_dir: Path
    metrics: dict[str, float]
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    try_it: str = ""
    sweep: dict[str, Any] | None = None  # the trials, if the plan was a sweep
    evaluation: dict[str, Any] | None = None  # metrics before, during and after training, and the benchmark's
    model_step: int | None = None  # the step whose weights the finished model has, and the last one; None of a sweep
    last_step: int | None = None
    observations: tuple[Finding, ...] = ()  # what the metrics say about the run
    rounded_away: float | None = (
        None  # the share of the training's change that is lost in the dtype of the written weights
    )

    def __repr__(self) -> str:
        numbers = ", ".join(f"{one.title.lower()} {one.last[1]:.4g}" for one in self.headlines())
        return f"<RunReport: {self.output_dir}: {numbers or 'no metrics'}, {duration(self.seconds)}>"

    def _repr_html_(self) -> str:
        """The numbers, the folder and what to do next, as notebooks show them."""
        rows = [(one.title, one.in_words()) for one in self.headlines()]
        rows += [("Model", str(self.output_dir)), ("Time", duration(self.seconds)), ("Try it", self.try_it)]
        return summary_html(f"{self.plan.trainer} of {self.plan.model.name}", [("", rows)])

    def headlines(self) -> list[Headline]:
        """The few numbers by which the training is judged, with their first, last and best value."""
        from autotrain_llm.run.report.curves import points_of
        from autotrain_llm.run.report.headline import headlines
        from autotrain_llm.run.report.read import read_log

        log = read_log(self.output_dir) or self.history or [{"step": self.last_step or 0, **self.metrics}]
        evaluation = self.evaluation or {}
        return headlines(self.plan.as_json(), points_of(log, evaluation), evaluation)

    def as_json(self) -> dict[str, Any]:
        """The `report` of the JSON output."""
        sweep = {} if self.sweep is None else {"sweep": records.finite(self.sweep)}
        return {
            "output_dir": str(self.output_dir),
            "metrics": records.finite(self.metrics),
            "seconds": self.seconds,
            "files": self.files,
            "versions": self.versions,
            "try_it": self.try_it,
            **({"observations": [one.as_json() for one in self.observations]} if self.observations else {}),
            **sweep,
            **({} if self.rounded_away is None else {"rounded_away": self.rounded_away}),
            **({} if self.evaluation is None else {"evaluation": records.finite(self.evaluation)}),
        }
