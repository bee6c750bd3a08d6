"""Plots of a sweep, from the record of its trials (`sweep/trials.json`): the metric by trial and by the value of each parameter, and on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.text import plain
from autotrain_llm.run.report import svg
from autotrain_llm.run.report.plots import LOG_AXIS_RATIO, legend
from autotrain_llm.run.report.read import is_number
from autotrain_llm.run.report.trials import score_of, values_of

MAX_LINES = 40  # of trials in one plot
Drawing = tuple[str, Callable[[], str]]  # the title, and what draws the plot
Done = tuple[int, float, Mapping[str, Any]]  # a trial's number, metric and values


def plots_of(record: Mapping[str, Any], metric: str) -> Iterator[Drawing]:
    """A title and a drawing function for each plot that these trials have data for; `metric` is the name of what they are compared by."""
    done = list(_completed(record))
    if not done:
        return
    maximize = record.get("direction") == "maximize"
    best = (max if maximize else min)(done, key=lambda trial: trial[1])
    if len(done) > 1:
        yield f"{metric} by trial", partial(_history, done, best, maximize)
    reported = [(trial, points) for trial in record["trials"] if len(points := _reported(trial)) > 1]
    if 1 < len(reported) <= MAX_LINES:
        yield f"{metric} during the trials", partial(_reports, reported, best[0])
    searched = dict.fromkeys(name for _, _, values in done for name in values)
    spaces = mapping(record.get("space"))
    for name in searched:
        tried = [(number, score, values[name]) for number, score, values in done if name in values]
        if len({plain(value) for _, _, value in tried}) > 1:
            yield f"{metric} by {name}", partial(_values, name, tried, best[0], mapping(spaces.get(name)))


def _completed(record: Mapping[str, Any]) -> Iterator[Done]:
    for trial in record.get("trials", ()):
        score, number = score_of(trial), trial.get("number")
        if trial.get("state") == "complete" and is_number(score) and math.isfinite(score) and is_number(number):
            yield number, score, values_of(trial)


def _reported(trial: Mapping[str, Any]) -> list[svg.Point]:
    """What a trial reported by step."""
    entries = mapping(trial.get("intermediate")).items()
    points = [(float(step), value) for step, value in entries if str(step).isdecimal() and is_number(value)]
    return sorted(point for point in points if math.isfinite(point[1]))


def _history(done: Sequence[Done], best: Done, maximize: bool) -> str:
    """The metric of each trial, and the best so far."""
    ordered = sorted((number, score) for number, score, _ in done)
    so_far: list[svg.Point] = []
    for number, score in ordered:
        ahead = so_far[-1][1] if so_far else score
        so_far.append((number, max(ahead, score) if maximize else min(ahead, score)))
    curves = [svg.Curve("trial", ordered, 1, ("dots",)), svg.Curve("best so far", so_far, 2)]
    numbers, scores = [number for number, _ in ordered], [score for _, score in ordered]
    plot = svg.plot(
        "the metric of each trial",
        svg.step_axis(numbers),
        svg.value_axis(scores),
        curves,
        name="trial",
        marked=[(best[0], best[1])],
    )
    return legend(curves) + plot


def _reports(reported: Sequence[tuple[Mapping[str, Any], list[svg.Point]]], best: int) -> str:
    """A line for each trial; that of the best is in colour."""
    ordered = sorted(reported, key=lambda entry: entry[0].get("number") == best)
    curves = [
        svg.Curve(f"trial {trial.get('number')}", points, 1 if trial.get("number") == best else 0)
        for trial, points in ordered
    ]
    points = [point for _, of_trial in ordered for point in of_trial]
    up = svg.value_axis([value for _, value in points])
    plot = svg.plot(
        "the metric of the trials on the way", svg.step_axis([step for step, _ in points]), up, curves, name="step"
    )
    shown = [svg.Curve("other trials", (), 0), *([curves[-1]] if curves[-1].colour else [])]
    return legend(shown) + plot


def _values(name: str, tried: Sequence[tuple[int, float, Any]], best: int, space: Mapping[str, Any]) -> str:
    """The metric by the value of one parameter, with a place for each value where they are no numbers."""
    if all(is_number(value) for _, _, value in tried):
        numbers = [float(value) for _, _, value in tried]
        is_wide = min(numbers) > 0 and max(numbers) > LOG_AXIS_RATIO * min(numbers)
        across = svg.value_axis(numbers, 4, is_log=min(numbers) > 0 and (bool(space.get("log")) or is_wide))
        places = numbers
    else:
        names = list(dict.fromkeys(plain(value) for _, _, value in tried))
        across = svg.category_axis(names)
        places = [float(names.index(plain(value))) for _, _, value in tried]
    points = [(place, score) for place, (_, score, _) in zip(places, tried, strict=True)]
    marked = [point for point, (number, _, _) in zip(points, tried, strict=True) if number == best]
    curve = svg.Curve("metric", sorted(points), 1, ("dots",))
    up = svg.value_axis([score for _, score, _ in tried])
    return svg.plot(f"the metric by {name}", across, up, [curve], name=name, marked=marked)
