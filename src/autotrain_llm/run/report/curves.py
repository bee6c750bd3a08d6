"""Which curves a report shows: the numbers of `metrics.jsonl` and of the evaluations, gathered into panels and thinned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from autotrain_llm.run.artifacts.metric_changes import numbers

MOST_POINTS = 240  # of one curve: as many as a picture of that width can show
NOT_DRAWN = ("step", "time", "epoch")
Point = tuple[float, float]


class Series(NamedTuple):
    """One curve: (step, value) in order of steps."""

    name: str
    points: list[Point]
    evaluated: bool  # on evaluation rows


class Panel(NamedTuple):
    """One picture: curves that share an axis."""

    title: str
    unit: str
    series: list[Series]
    spans: bool = False  # orders of magnitude, so that the axis may be logarithmic


class Drawn(NamedTuple):
    """What shares a picture: what they are called there, their unit, and the metrics' names without `eval_`."""

    title: str
    unit: str
    names: tuple[str, ...]
    spans: bool = False


LEARNING = (
    Drawn("Loss", "", ("loss",)),
    Drawn("Token accuracy", "share of tokens", ("token_accuracy",)),
    Drawn("Perplexity", "", ("perplexity",), spans=True),
    Drawn("Reward of completions", "", ("reward",)),
    Drawn("Rewards", "", ("rewards/chosen", "rewards/rejected")),
    Drawn("Margin of the rewards", "chosen less rejected", ("rewards/margins",)),
    Drawn("Answers told apart", "share of pairs", ("rewards/accuracies",)),
    Drawn("Log-probabilities", "nats", ("logps/chosen", "logps/rejected")),
    Drawn("Pairs ranked right", "share of pairs", ("accuracy",)),
    Drawn("Margin of the scores", "chosen less rejected", ("margin",)),
    Drawn("Mean scores", "", ("chosen_reward", "rejected_reward", "mean_reward")),
    Drawn("Lowest and highest score", "", ("min_reward", "max_reward")),
    Drawn("Calibration error", "share", ("calibration",)),
    Drawn("Distance from the reference", "nats", ("kl",)),
    Drawn("Parts of the loss", "nats", ("nll_loss", "log_odds_ratio", "log_odds_chosen")),
    Drawn("Entropy", "nats per token", ("entropy",)),
)
RUNNING = (
    Drawn("Learning rate", "", ("learning_rate",)),
    Drawn("Gradient norm", "before clipping", ("grad_norm",), spans=True),
    Drawn("Speed", "tokens per second", ("tokens_per_second",)),
    Drawn("Padding saved", "share of positions", ("padding_saved",)),
    Drawn("Use of the machine", "share of its peak", ("matmul_share",)),
)


def panels(log: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> tuple[list[Panel], list[Panel]]:
    """What was learnt, and how the run went. A metric that nobody described gets a picture of its own, under its name."""
    found = {series.name: series for series in [*_evaluations(log, evaluation), *_logged(log)]}
    known = {name for drawn in (*LEARNING, *RUNNING) for name in drawn.names}
    others = dict.fromkeys(_base(name) for name in found if _base(name) not in known)
    learning = (*LEARNING, *(Drawn(name.replace("_", " "), "", (name,)) for name in others))
    return _filled(learning, found), _filled(RUNNING, found)


def _filled(wanted: Iterable[Drawn], found: Mapping[str, Series]) -> list[Panel]:
    filled = []
    for drawn in wanted:
        names = [spelt for name in drawn.names for spelt in (name, f"eval_{name}") if spelt in found]
        if names:
            filled.append(Panel(drawn.title, drawn.unit, [found[name] for name in names], drawn.spans))
    return filled


def _logged(log: Sequence[Mapping[str, Any]]) -> list[Series]:
    """A series for each metric that was logged twice or more; one value is no curve."""
    points: dict[str, list[Point]] = {}
    for entry in log:
        for name, value in entry.items():
            if name not in NOT_DRAWN and not name.endswith("_seconds") and _is_number(value):
                points.setdefault(name, []).append((entry["step"], value))
    return [
        Series(name, thinned(held), name.startswith("eval_"))
        for name, held in points.items()
        if len(held) > 1 or name in ("eval_loss", "loss")
    ]


def _evaluations(log: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> list[Series]:
    """The metrics of `eval/metrics.json` over the steps: before stands at 0, after at the last."""
    last = max((entry["step"] for entry in log), default=0)
    during = evaluation.get("during")
    held: list[tuple[Any, Any]] = [(0, evaluation.get("before"))]
    held += [(entry.get("step"), entry) for entry in during or [] if isinstance(entry, dict)] if during else []
    held += [(last, evaluation.get("after"))]
    points: dict[str, dict[float, float]] = {}
    for step, document in held:
        for name, value in numbers(document).items():
            if (
                _base(name) not in NOT_DRAWN
                and not name.endswith("_seconds")
                and _is_number(step)
                and _is_number(value)
            ):
                points.setdefault(f"eval_{_base(name)}", {})[step] = value
    return [
        Series(name, thinned(sorted(by_step.items())), True) for name, by_step in points.items() if len(by_step) > 1
    ]


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no peak is lost; the first and last stay."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2 - 1
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        low, high = (pick(range(len(stretch)), key=lambda at: stretch[at][1]) for pick in (min, max))
        kept += [stretch[at] for at in sorted({low, high})]
    return [*kept, points[-1]]


def _base(name: str) -> str:
    return name.removeprefix("eval_")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
