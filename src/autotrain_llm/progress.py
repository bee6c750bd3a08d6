"""Whoever looks on while a run goes: the terminal, a test, or nobody. `run/` tells; how it is shown is not its business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ProgressCallback:
    """Hears what a run does. Every method may be left as it is."""

    def stage(self, text: str) -> None:
        """Something begins that takes a while: loading, saving."""

    def note(self, text: str) -> None:
        """Something the user should know, once."""

    def start(self, steps: int, done: int) -> None:
        """Training begins; `done` steps were carried out before."""

    def step(self, step: int) -> None:
        """An optimizer step was carried out."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of the steps since the last log, or of an evaluation (`eval_…`)."""

    def finish(self) -> None:
        """Training is over, whichever way."""

    def trial(self, number: int, values: Mapping[str, Any], own: bool) -> None:
        """A trial of a sweep begins, with these values of what is searched; `own` are the command's."""

    def trial_done(self, number: int, state: str, metric: float | None, best: bool, why: str = "") -> None:
        """A trial is over: complete, pruned, failed, refused or interrupted; whether it is the best so far, and why it came to nothing."""
