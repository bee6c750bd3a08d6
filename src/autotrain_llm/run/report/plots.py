"""The curves of a panel as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from autotrain_llm.run.report import svg
from autotrain_llm.run.report.curves import Panel, Series

LOG_AXIS_RATIO = 100  # of the highest to the lowest value
FEW_POINTS = 30  # a curve of at most so many has dots


def draw(panel: Panel) -> str:
    """A panel as HTML: its legend, and the plot over the steps."""
    curves = curves_of(panel)
    named = curves if len(curves) > 1 or panel.series[0].evaluated else []
    return legend(named) + plot_over_steps(panel.title, curves, panel.log_axis)


def curves_of(panel: Panel) -> list[svg.Curve]:
    """The curves of a panel."""
    bases = list(dict.fromkeys(series.name.removeprefix("eval_") for series in panel.series))
    return [_curve(series, bases) for series in panel.series]


def plot_over_steps(title: str, curves: Sequence[svg.Curve], log_axis: bool = False) -> str:
    """Curves over the steps. With `log_axis` the axis is logarithmic where the values span orders of magnitude."""
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    is_log = log_axis and min(values) > 0 and max(values) > LOG_AXIS_RATIO * min(values)
    across, up = svg.step_axis(steps), svg.value_axis(values, is_log=is_log)
    return svg.plot(f"{title} over the steps", across, up, curves, name="step")


def legend(curves: Sequence[svg.Curve]) -> str:
    """The names of curves beside their colours; nothing for none."""
    if not curves:
        return ""
    keys = (f'<span><i class="{look_of(curve)}"></i>{escape(curve.name)}</span>' for curve in curves)
    return f'<div class="keys">{"".join(keys)}</div>'


def look_of(curve: svg.Curve) -> str:
    """The classes of a curve's key in a legend."""
    style = " dashed" if "dashed" in curve.style else " dots" if curve.style == ("dots",) else ""
    return f"c{curve.colour}{style}"


def _curve(series: Series, bases: list[str]) -> svg.Curve:
    """Training is a line; evaluations are dashed, or in a colour of their own where the panel has one metric."""
    base = series.name.removeprefix("eval_")
    is_alone = len(bases) == 1
    colour = bases.index(base) + (1 if series.evaluated and is_alone else 0)
    style = ["line"]
    if series.evaluated and not is_alone:
        style.append("dashed")
    if series.evaluated and len(series.points) <= FEW_POINTS:
        style.append("dots")
    return svg.Curve(_name(base, series.evaluated, is_alone), series.points, colour % svg.COLOURS + 1, tuple(style))


def _name(base: str, evaluated: bool, is_alone: bool) -> str:
    rows = "evaluation" if evaluated else "training"
    if is_alone:
        return rows
    name = base.rpartition("/")[2].replace("_", " ")
    return f"{name}, evaluation" if evaluated else name
