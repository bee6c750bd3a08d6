"""Plots as SVG elements: axes with ticks, lines and dots. Colours are classes of `plots.css`, light or dark, and `plots.js` shows the values under
the pointer, which each plot carries as `data-plot`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH, HEIGHT = 360.0, 212.0  # of the drawing, in its own units: about the pixels that a plot has on a page
TOP, BOTTOM, RIGHT = 8.0, 32.0, 10.0
LETTER = 6.3  # width of a digit at the font size of plots.css
MARGIN = 0.06  # of the range of the values, above and below them
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
COLOURS = 5  # of plots.css
Point = tuple[float, float]


class Axis(NamedTuple):
    """A range of values and its ticks, each with its text; with `has_names` the texts are names in place of numbers."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    is_log: bool = False
    has_names: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        if self.is_log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


class Curve(NamedTuple):
    """Points that belong together. `colour` counts from 1, 0 is muted; `style` is any of line, dashed, dots."""

    name: str
    points: Sequence[Point]
    colour: int
    style: tuple[str, ...] = ("line",)


# ---- axes


def value_axis(values: Sequence[float], count: int = 5, *, is_log: bool = False) -> Axis:
    """An axis around these values."""
    low, high = min(values), max(values)
    if is_log:
        return _log_axis(low, high)
    spread = (high - low) or abs(high) * 0.2 or 1.0
    low, high = low - MARGIN * spread, high + MARGIN * spread
    if min(values) >= 0 > low:
        low = 0.0
    return Axis(low, high, ticks(low, high, count))


def step_axis(steps: Sequence[float]) -> Axis:
    """An axis of whole numbers from the first to the last."""
    low, high = min(steps), max(steps)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Axis(low, high, ticks(low, high, 5, whole=True))


def category_axis(names: Sequence[str]) -> Axis:
    """An axis with a place for each name, at 0, 1, 2, …"""
    return Axis(-0.5, len(names) - 0.5, [(float(index), name) for index, name in enumerate(names)], has_names=True)


def _log_axis(low: float, high: float) -> Axis:
    ends = math.log10(low), math.log10(high)
    margin = MARGIN * ((ends[1] - ends[0]) or 1.0)
    low, high = 10 ** (ends[0] - margin), 10 ** (ends[1] + margin)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, len(exponents) // 5)
    for mantissas in ((1,), (1, 3), (1, 2, 5)):
        at = [float(f"{mantissa}e{exponent}") for exponent in exponents[::every] for mantissa in mantissas]
        within = [value for value in at if low <= value <= high]
        if len(within) > 2:
            break
    marks = [(value, number(value)) for value in within] if len(within) > 1 else ticks(low, high, 5)
    return Axis(low, high, marks, is_log=True)


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[tuple[float, str]]:
    """About `count` round values from low to high, each with a text that no other has."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(mantissa * magnitude for mantissa in STEPS if (high - low) / (mantissa * magnitude) < count + 1)
    if whole:
        step = max(1.0, step if step == round(step) else 2 * step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    values = [index * step for index in range(first, last + 1)]
    return list(zip(values, texts(values, step), strict=True))


def texts(values: Sequence[float], step: float) -> list[str]:
    """The numbers with as many digits as tell them apart."""
    largest = max(map(abs, values), default=0.0)
    if largest and (largest >= 1e7 or largest < 1e-3):
        digits = max(0, math.ceil(math.log10(largest / step) - 1e-9))
        return [_with_exponent(value, digits + 1) if value else "0" for value in values]
    decimals = next((count for count in range(12) if abs(round(step, count) - step) < step * 1e-6), 12)
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in values]


def _with_exponent(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}".replace("-", "−")


def number(value: float) -> str:
    """A number by itself: 12,000, 0.025, 2e-5."""
    if value and (abs(value) >= 1e7 or abs(value) < 1e-3):
        return _with_exponent(value, 5)
    return (f"{value:,.0f}" if value == round(value) and abs(value) >= 1000 else f"{value:.6g}").replace("-", "−")


# ---- the drawing


def plot(
    label: str, across: Axis, up: Axis, curves: Sequence[Curve], *, name: str, marked: Sequence[Point] = ()
) -> str:
    """An SVG element: `name` is of what goes across, and `marked` are points with a ring around them."""
    left = 10 + LETTER * max((len(text) for _, text in up.ticks), default=1)
    frame = _Frame(left, across, up)
    parts = [
        *frame.grid(),
        *(part for curve in curves for part in frame.curve(curve)),
        *(f'<circle class="mark" cx="{frame.x(x)}" cy="{frame.y(y)}" r="5"/>' for x, y in marked),
        f'<text class="name" x="{(left + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4:.0f}" text-anchor="middle">{escape(name)}</text>',
        f'<line class="cursor" x1="0" x2="0" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>',
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" tabindex="0" aria-label="{escape(label)}"'
        f' data-plot="{escape(frame.data(name, curves))}">{"".join(parts)}</svg>'
    )


class _Frame:
    """Where values lie in the drawing."""

    def __init__(self, left: float, across: Axis, up: Axis) -> None:
        self.left, self.across, self.up = left, across, up

    def x(self, value: float) -> str:
        return _short(self.left + self.across.share(value) * (WIDTH - RIGHT - self.left))

    def y(self, value: float) -> str:
        return _short(HEIGHT - BOTTOM - self.up.share(value) * (HEIGHT - BOTTOM - TOP))

    def grid(self) -> list[str]:
        """Lines and texts at the ticks; of texts across, those that would run into their neighbour are left out."""
        lines = []
        for value, text in self.up.ticks:
            y = self.y(value)
            lines.append(f'<line class="grid" x1="{_short(self.left)}" x2="{WIDTH - RIGHT:g}" y1="{y}" y2="{y}"/>')
            lines.append(
                f'<text x="{_short(self.left - 5)}" y="{y}" dy="0.33em" text-anchor="end">{escape(text)}</text>'
            )
        end = -math.inf
        for value, text in self.across.ticks:
            half = LETTER * len(text) / 2
            middle = min(max(float(self.x(value)), half), WIDTH - half)
            if middle - half > end + LETTER:
                end = middle + half
                lines.append(
                    f'<text x="{_short(middle)}" y="{HEIGHT - 18:g}" text-anchor="middle">{escape(text)}</text>'
                )
        return lines

    def curve(self, curve: Curve) -> list[str]:
        colour = f"c{(curve.colour - 1) % COLOURS + 1}" if curve.colour else "c0"
        points = [(self.x(x), self.y(y)) for x, y in curve.points]
        parts = []
        if len(points) > 1 and curve.style != ("dots",):
            dashed = " dashed" if "dashed" in curve.style else ""
            parts.append(f'<polyline class="{colour}{dashed}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')
        if "dots" in curve.style or len(points) == 1:
            parts += [f'<circle class="{colour}" cx="{x}" cy="{y}" r="2.6"/>' for x, y in points]
        return parts

    def data(self, name: str, curves: Sequence[Curve]) -> str:
        """What the script needs: the axis, and the values of each curve at their places in the drawing."""
        shown: list[dict[str, Any]] = [
            {
                "name": curve.name,
                "colour": (curve.colour - 1) % COLOURS + 1 if curve.colour else 0,
                "at": [float(self.x(x)) for x, _ in curve.points],
                "x": [_rounded(x) for x, _ in curve.points],
                "y": [_rounded(y) for _, y in curve.points],
            }
            for curve in curves
            if curve.name
        ]
        document: dict[str, Any] = {"name": name, "width": WIDTH, "curves": shown}
        if self.across.has_names:
            document["texts"] = [text for _, text in self.across.ticks]
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _rounded(value: float) -> float | int:
    rounded = float(f"{value:.5g}") if abs(value) < 1e5 else value
    return int(rounded) if rounded == int(rounded) else rounded
