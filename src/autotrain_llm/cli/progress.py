"""The progress of a run: a live bar on a terminal, a line for each log elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from autotrain_llm.cli.metric_text import metrics_line, step_text
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit, is_terminal, wants_colour, width
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import duration
from autotrain_llm.progress import ProgressCallback

if TYPE_CHECKING:
    from rich.progress import Progress

    from autotrain_llm.planning.plan import SweepPlan


WIDE = 90  # columns from which there is room for a long bar


def progress(screen: Screen, sweep: SweepPlan | None = None) -> ProgressCallback:
    """The callback for this screen; `sweep` is the plan of a sweep."""
    return ProgressCallback() if screen.quiet else progress_on(screen.err, sweep, verbose=screen.verbose)


def progress_on(stream: TextIO, sweep: SweepPlan | None = None, *, verbose: bool = False) -> ProgressCallback:
    """The callback that shows the progress of a run, or of a sweep's trials, on a stream."""
    if sweep is not None:
        from autotrain_llm.cli.trials import TrialLines, TrialTable

        if is_terminal(stream):
            return TrialTable(stream, sweep)
        return TrialLines(stream, sweep, Lines(stream) if verbose else ProgressCallback())
    return Bar(stream) if is_terminal(stream) else Lines(stream)


class Clock:
    """Estimates the remaining time from the speed since the first log; the steps before it include warm-up."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.first: tuple[int, float] | None = None

    def left(self, step: int) -> float | None:
        """The remaining seconds; None before the second log."""
        now = time.perf_counter()
        if self.first is None:
            self.first = (step, now)
        first_step, since = self.first
        return None if step <= first_step else (now - since) / (step - first_step) * (self.steps - step)


class Lines(ProgressCallback):
    """A line for each event: for logs, pipes and other programs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.clock = Clock(0)

    def _write(self, text: str) -> None:
        self.stream.write(showable(text) + "\n")
        self.stream.flush()

    def stage(self, text: str) -> None:
        self._write(text)

    def note(self, text: str) -> None:
        self._write(text)

    def start(self, steps: int, done: int) -> None:
        self.clock = Clock(steps)
        self._write(f"Training, {steps} steps" + (f", resumed after step {done}" if done else ""))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        left = self.clock.left(step)
        rest = f"  {duration(left)} left" if left else ""
        self._write(f"{step_text(step, self.clock.steps)}  {metrics_line(metrics)}{rest}")


class Bar(ProgressCallback):
    """A bar with steps, remaining time and the latest metrics; evaluations print a line above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self.console = Console(
            file=stream, width=width(stream), no_color=not wants_colour(stream), highlight=False, force_terminal=True
        )
        self._bar_width, self._beside = (24 if self.console.width >= WIDE else 8), 0
        self.bar: Progress | None = None
        self.task: Any = None

    def stage(self, text: str) -> None:
        self._close()
        self._print(text)

    def note(self, text: str) -> None:
        self._print(text)

    def start(self, steps: int, done: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._beside = len(f"Training  {steps}/{steps} 0:00:00 ")
        columns = (
            TextColumn("Training"),
            BarColumn(bar_width=self._bar_width),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}", markup=False),
        )
        self.bar = Progress(*columns, console=self.console, refresh_per_second=4)
        self.task = self.bar.add_task("Training", total=steps, completed=done, numbers="")
        self.bar.start()

    def step(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if any(name.startswith("eval_") for name in metrics):
            self._print(f"{step_text(step, 0)}  {metrics_line(metrics)}")
        elif self.bar is not None:
            # A number that is cut off would be another one.
            room = self.console.width - self._bar_width - self._beside
            self.bar.update(self.task, completed=step, numbers=metrics_line(metrics, room))

    def finish(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _print(self, text: str) -> None:
        self.console.print("\n".join(fit(showable(text), self.console.width, "  ")), markup=False, soft_wrap=True)
