"""The curves of a panel as a plot."""

from __future__ import annotations

from html import escape

from autotrain_llm.run.report import svg
from autotrain_llm.run.report.curves import Panel, Series

LOG_AXIS_RATIO = 100  # of the highest to the lowest value
FEW_POINTS = 30  # a curve of at most so many has dots


def draw(panel: Panel) -> str:
    """A panel as HTML: its legend, and the plot over the steps."""
    bases = list(dict.fromkeys(series.name.removeprefix("eval_") for series in panel.series))
    curves = [_curve(series, bases) for series in panel.series]
    steps = [step for series in panel.series for step, _ in series.points]
    values = [value for series in panel.series for _, value in series.points]
    is_log = panel.log_axis and min(values) > 0 and max(values) > LOG_AXIS_RATIO * min(values)
    plot = svg.plot(
        f"{panel.title} over the steps",
        svg.step_axis(steps),
        svg.value_axis(values, is_log=is_log),
        curves,
        name="step",
    )
    return legend(curves if len(curves) > 1 or panel.series[0].evaluated else []) + plot


def legend(curves: list[svg.Curve]) -> str:
    """The names of curves beside their colours; nothing for none."""
    if not curves:
        return ""
    keys = (f'<span><i class="c{curve.colour}{_look(curve)}"></i>{escape(curve.name)}</span>' for curve in curves)
    return f'<div class="keys">{"".join(keys)}</div>'


def _look(curve: svg.Curve) -> str:
    return " dashed" if "dashed" in curve.style else " dots" if curve.style == ("dots",) else ""


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
