"""The progress of a run as callbacks: `run/` calls them, the terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ProgressCallback:
    """Receives the progress of a run. Override the methods of interest; the others do nothing."""

    def stage(self, text: str) -> None:
        """A stage that takes a while starts, such as loading or saving."""

    def note(self, text: str) -> None:
        """A message that the user should see once."""

    def start(self, steps: int, done: int) -> None:
        """Training starts; a resumed run has `done` of its `steps` behind it."""

    def step(self, step: int) -> None:
        """An optimizer step is done."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of the steps since the last log, or of an evaluation (`eval_…`)."""

    def finish(self) -> None:
        """Training has ended: complete, failed or interrupted."""

    def trial(self, number: int, values: Mapping[str, Any], own: bool) -> None:
        """A trial of a sweep starts with these values of the searched parameters; `own` marks the command's own values."""

    def trial_done(self, number: int, state: str, metric: float | None, best: bool, why: str = "") -> None:
        """A trial has ended with this `state` (complete, pruned, failed, refused or interrupted); `best` of all so far; `why` it has no metric."""


class PipelineProgress(ProgressCallback):
    """Receives the progress of a pipeline. Its stages report theirs on standard error, each from its own process."""

    def stage_begins(self, name: str, number: int, total: int, action: str) -> None:
        """The stage `name` starts, one of `total` that are trained; `action` is how: train, train again or resume."""

    def stage_ends(self, result: Any) -> None:
        """A stage has ended; `result` is its StageResult."""
