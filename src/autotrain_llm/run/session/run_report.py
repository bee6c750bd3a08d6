"""The report of a finished run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.declare.finding import Finding
from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.artifacts import records


@dataclass
class RunReport:
    """The outcome of a plan. `history` has one dictionary per log; `files` are the names at the root of the output folder."""

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
            **({} if self.evaluation is None else {"evaluation": records.finite(self.evaluation)}),
        }
