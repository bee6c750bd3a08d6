"""Curves as shapes of inline SVG: the template writes them, the page's style gives colours. No library is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 24
LOG_FROM = 100  # of the highest to the lowest value
FEW = 24  # points of a curve that are marked
COLOURS = 6
Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A named series of (step, value). `dashed` is one of evaluations beside one of training; curves of one `colour` belong together."""

    name: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A drawn curve: the `points` of a polyline, and its marks."""

    name: str
    colour: int
    dashed: bool
    points: str
    marks: list[tuple[str, str, str]]  # x, y and what stands there, in words
    last: str


@dataclass(frozen=True)
class Chart:
    """One drawing. `columns` and `rows` are the grid: a position and its label."""

    title: str
    unit: str
    lines: list[Line]
    columns: list[tuple[str, str]]
    rows: list[tuple[str, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def chart(title: str, unit: str, curves: Sequence[Curve], log_axis: bool = False) -> Chart:
    """Draw curves over each other. Curves without points are left out."""
    curves = [curve for curve in curves if curve.points]
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    low, high = min(values), max(values)
    is_log = log_axis and low > 0 and high / low >= LOG_FROM
    rows = _powers(low, high) if is_log else ticks(low, high, 4)
    columns = [at for at in ticks(min(steps), max(steps), 5) if min(steps) <= at <= max(steps) and at == int(at)]
    bounds = min(rows[0], low), max(rows[-1], high)

    def across(step: float) -> float:
        return _place(step, min(steps), max(steps), LEFT, WIDTH - RIGHT)

    def up(value: float) -> float:
        if is_log:
            return _place(math.log(value), math.log(bounds[0]), math.log(bounds[1]), HEIGHT - BOTTOM, TOP)
        return _place(value, *bounds, HEIGHT - BOTTOM, TOP)

    lines = []
    for curve in curves:
        places = [(f"{across(step):.1f}", f"{up(value):.1f}") for step, value in curve.points]
        words = [f"{curve.name}: {short(value)} at step {step:g}" for step, value in curve.points]
        marked = len(places) <= FEW
        lines.append(
            Line(
                name=curve.name,
                colour=curve.colour % COLOURS + 1,
                dashed=curve.dashed,
                points=" ".join(f"{x},{y}" for x, y in places),
                marks=[(x, y, text) for (x, y), text in zip(places, words, strict=True)] if marked else [],
                last=short(curve.points[-1][1]),
            )
        )
    return Chart(
        title,
        unit,
        lines,
        columns=[(f"{across(at):.1f}", f"{at:g}") for at in columns],
        rows=[(f"{up(at):.1f}", label) for at, label in zip(rows, _labels(rows), strict=True)],
    )


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    return (start + end) / 2 if high == low else start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers around a range, about this many: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return [index * step for index in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 5)
    return [10.0**power for power in range(first, last + 1, every)]


def _labels(values: Sequence[float]) -> list[str]:
    """Labels that differ: with as many digits as that takes."""
    for digits in range(2, 9):
        labels = [_label(float(f"{value:.{digits}g}")) for value in values]
        if len(set(labels)) == len(labels):
            break
    return labels


def _label(value: float) -> str:
    is_usual = value == 0 or 1e-4 <= abs(value) < 1e6
    return f"{value:,.10g}" if is_usual else f"{value:g}"


def short(value: float) -> str:
    """A value beside a curve."""
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"
