"""Draw with matplotlib, and turn a figure into inline SVG with the page's fonts and its colours, light or dark.

matplotlib is imported when something is drawn; its settings, its log level and the caller's backend are restored.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any
from zlib import crc32

from autotrain_llm.run.report.curves import Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for the page's variables: matplotlib writes them out, and `inline` puts the variable in their place.
INK, MUTED, LINE = "#0a0b01", "#0a0b02", "#0a0b03"
CURVES = ("#0a0b11", "#0a0b12", "#0a0b13", "#0a0b14", "#0a0b15")
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"}
VARIABLES |= {colour: f"--curve-{index}" for index, colour in enumerate(CURVES, 1)}
SIZE = (4.1, 2.35)  # inches; the page scales it
TICK_STEPS = [1, 2, 2.5, 5, 10]
LOG_AXIS_RATIO = 100  # of the highest to the lowest value
FEW_POINTS = 30  # a curve of at most so many has markers
STYLE: Any = {  # matplotlib types the names of its settings
    "svg.fonttype": "none",  # letters stay letters: small, and in the reader's font
    "svg.hashsalt": "report",
    "text.parse_math": False,  # a name with two dollar signs is a name
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, matplotlib is quiet and has this page's settings. Raises ImportError if it is not installed."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # it speaks of its fonts when it is first used
    try:
        import matplotlib

        with warnings.catch_warnings(), matplotlib.rc_context():
            warnings.simplefilter("ignore")
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield
    finally:
        log.setLevel(level)


def draw(panel: Panel) -> str:
    """A panel as SVG. To be called inside `drawing`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    bases = list(dict.fromkeys(series.name.removeprefix("eval_") for series in panel.series))
    for series in panel.series:
        _draw_curve(axes, series, bases)
    axes.set_xlabel("step")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=TICK_STEPS))
    axes.xaxis.set_major_formatter(tick)
    _value_axis(axes, panel)
    lines = _legend(axes, panel)
    figure.subplots_adjust(left=0.15, right=0.985, bottom=0.19, top=0.965 - 0.095 * lines)
    return inline(figure, f"{panel.title} over the steps")


def _draw_curve(axes: Axes, series: Series, bases: list[str]) -> None:
    """Training is a line; evaluations are dashed with a marker each, or in a colour of their own where the panel has one metric."""
    base = series.name.removeprefix("eval_")
    colour = bases.index(base) + (1 if series.evaluated and len(bases) == 1 else 0)
    few = len(series.points) <= FEW_POINTS
    axes.plot(
        [step for step, _ in series.points],
        [value for _, value in series.points],
        color=CURVES[colour % len(CURVES)],
        linestyle="--" if series.evaluated and len(bases) > 1 else "-",
        marker="o" if (series.evaluated and few) or len(series.points) == 1 else "",
        markersize=3.5,
        linewidth=1.5 if few or series.evaluated else 1.1,
        label=_legend_label(base, series.evaluated, len(bases)),
    )


def _legend(axes: Axes, panel: Panel) -> int:
    """Add a legend above the axes; returns its lines."""
    count = len(panel.series)
    if count == 1 and not panel.series[0].evaluated:
        return 0
    columns = min(count, 2 if count > 3 else 3)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=columns, fontsize=8.5, handlelength=1.6, columnspacing=1.2
    )
    return -(-count // columns)


def _legend_label(base: str, evaluated: bool, bases: int) -> str:
    rows = "evaluation" if evaluated else "training"
    if bases == 1:
        return rows
    name = base.rpartition("/")[2].replace("_", " ")
    return f"{name}, evaluation" if evaluated else name


def _value_axis(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    values = [value for series in panel.series for _, value in series.points]
    if panel.log_axis and min(values) > 0 and max(values) > LOG_AXIS_RATIO * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(tick)


def tick(value: float, position: float | None = None) -> str:
    """A number at an axis: 12,000 and not 1.2e+04."""
    whole = 1000 <= abs(value) < 1e9 and value == round(value)
    return (f"{value:,.0f}" if whole else f"{value:.6g}").replace("-", "−")


# ---- a figure as a part of the page


def inline(figure: Figure, label: str, *, cropped: bool = False) -> str:
    """The figure as an SVG element without anything that a page of several can't hold: no ids that clash, no styles for all.

    `cropped` cuts it to what is drawn, wherever that lies.
    """
    prefix = f"p{crc32(label.encode())}"  # the same in every process
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    box: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.05} if cropped else {}
    figure.savefig(buffer, format="svg", metadata=nothing, **box)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None
    opened = f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(label)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: opened, text, count=1)
    referred = frozenset(re.findall(r'(?:href="|url\()#([\w.-]+)', text))
    text = re.sub(r"<[^>]+>", lambda tag: _tidy(tag[0], prefix, referred), text)
    return re.sub(r">\s+<", "><", text)


def _tidy(tag: str, prefix: str, referred: frozenset[str]) -> str:
    """One tag: the page's colours, ids of its own, fewer decimals, no namespace."""
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    tag = re.sub(r' id="([^"]*)"', lambda match: f' id="{prefix}-{match[1]}"' if match[1] in referred else "", tag)
    tag = (
        tag.replace("xlink:href=", "href=").replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    )
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag)
    if 'href="data:' in tag:
        return tag
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag)
