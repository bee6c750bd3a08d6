"""The charts of a page: the plots of reports, with the last values of their curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from autotrain_llm.run.report.svg import Curve


@dataclass(frozen=True)
class Chart:
    """One drawing: the plot, and of each curve the look of its line, its name and its last value."""

    title: str
    unit: str
    plot: Markup
    legend: list[tuple[str, str, str]]


def chart(title: str, unit: str, curves: Sequence[Curve], log_axis: bool = False) -> Chart:
    """Draw curves over each other."""
    from autotrain_llm.run.report.formatting import short
    from autotrain_llm.run.report.plots import look_of, plot_over_steps

    plot = Markup(plot_over_steps(title, curves, log_axis))  # it escapes the texts that it writes
    legend = [(look_of(curve), curve.name, short(float(curve.points[-1][1]))) for curve in curves]
    return Chart(title, unit, plot, legend)
