"""The progress of a sweep: a live table of trials on a terminal, two lines for each trial elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from autotrain_llm.cli.metric_text import metrics_line, step_text
from autotrain_llm.cli.terminal import fit, wants_colour, width
from autotrain_llm.declare.text import plain
from autotrain_llm.progress import ProgressCallback

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from autotrain_llm.planning.plan import SweepPlan

STYLES = {"complete": "", "pruned": "dim", "failed": "red", "refused": "red", "interrupted": "yellow"}


def values_text(values: Mapping[str, Any]) -> str:
    """`lr 2e-4  batch_size 8`."""
    return "  ".join(f"{name} {plain(value)}" for name, value in values.items())


class TrialLines(ProgressCallback):
    """A line when a trial starts and one when it ends; the progress of its run goes to `inner`."""

    def __init__(self, stream: TextIO, sweep: SweepPlan, inner: ProgressCallback) -> None:
        self.stream, self.sweep, self.inner = stream, sweep, inner

    def _write(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()

    def trial(self, number: int, values: Mapping[str, Any], own: bool) -> None:
        yours = " (your values)" if own else ""
        self._write(f"Trial {number} of {self.sweep.trials}{yours}  {values_text(values)}")

    def trial_done(self, number: int, state: str, metric: float | None, best: bool, why: str = "") -> None:
        outcome = why if metric is None else f"{self.sweep.metric} {metric:.6g}{'  the best so far' if best else ''}"
        self._write(f"Trial {number} {state}  {outcome}")

    def note(self, text: str) -> None:
        self._write(text)

    def stage(self, text: str) -> None:
        self.inner.stage(text)

    def start(self, steps: int, done: int) -> None:
        self.inner.start(steps, done)

    def step(self, step: int) -> None:
        self.inner.step(step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.inner.log(step, metrics)


class TrialTable(ProgressCallback):
    """A row for each trial, with the best marked, and the progress of the current trial below."""

    def __init__(self, stream: TextIO, sweep: SweepPlan) -> None:
        from rich.console import Console

        self.sweep = sweep
        self.console = Console(
            file=stream, width=width(stream), no_color=not wants_colour(stream), highlight=False, force_terminal=True
        )
        self.rows: dict[int, list[str]] = {}
        self.best: int | None = None
        self.doing = ""
        self.steps = 0
        self.live: Live | None = None

    def trial(self, number: int, values: Mapping[str, Any], own: bool) -> None:
        self.rows[number] = [
            f"{number}{' (yours)' if own else ''}",
            *(plain(values[name]) for name in self.sweep.space),
            "running",
            "",
        ]
        self._show("")

    def trial_done(self, number: int, state: str, metric: float | None, best: bool, why: str = "") -> None:
        self.best = number if best else self.best
        self.rows[number][-2:] = [state, why if metric is None else f"{metric:.6g}"]
        self._show("")

    def stage(self, text: str) -> None:
        self._show(text)

    def note(self, text: str) -> None:
        self.console.print("\n".join(fit(text, self.console.width, "  ")), markup=False, soft_wrap=True)

    def start(self, steps: int, done: int) -> None:
        self.steps = steps
        self._show(f"step {done}/{steps}")

    def step(self, step: int) -> None:
        self._show(f"step {step}/{self.steps}  {self.doing.partition('  ')[2]}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._show(f"{step_text(step, self.steps)}  {metrics_line(metrics)}")

    def finish(self) -> None:
        """Stop updating the table; it stays on the terminal."""
        if self.live is not None:
            self._show("")
            self.live.stop()
            self.live = None

    def _show(self, doing: str) -> None:
        from rich.live import Live

        self.doing = doing
        if self.live is None:
            self.live = Live(console=self.console, refresh_per_second=4, transient=False)
            self.live.start()
        self.live.update(self._table())

    def _table(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in ("trial", *self.sweep.space, "state", self.sweep.metric):
            table.add_column(name, overflow="fold")
        for number, cells in self.rows.items():
            style = "bold green" if number == self.best else STYLES.get(cells[-2], "cyan")
            table.add_row(*(Text(cell) for cell in cells), style=style)
        return Group(table, Text(self.doing, "dim"))
