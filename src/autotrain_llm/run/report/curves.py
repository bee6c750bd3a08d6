"""Curves of a report: metrics from `metrics.jsonl` and the evaluations, their names in words, grouped into panels and thinned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from autotrain_llm.run.artifacts.metric_changes import numbers
from autotrain_llm.run.report.read import is_number

MAX_POINTS = 240  # per curve: as many as a plot of that width can show
NOT_METRICS = ("step", "time", "epoch")
SAME = 1e-6  # relative difference up to which two values are the same
Point = tuple[float, float]
PointsOf = Mapping[str, Sequence[Point]]  # by metric


class Series(NamedTuple):
    """One curve: (step, value) in order of steps."""

    name: str
    points: list[Point]
    evaluated: bool  # on evaluation rows


class PanelSpec(NamedTuple):
    """Metrics that share a plot, by their names without `eval_`."""

    title: str
    unit: str
    metrics: tuple[str, ...]
    log_axis: bool = False  # where the values span orders of magnitude


class Panel(NamedTuple):
    """One plot: curves that share an axis."""

    title: str
    unit: str
    series: list[Series]
    log_axis: bool = False


QUALITY = (
    PanelSpec("Loss", "", ("loss",)),
    PanelSpec("Balance of the experts", "router loss, weighted by its coefficient in the loss", ("router_loss",)),
    PanelSpec("Token accuracy", "share of tokens", ("token_accuracy",)),
    PanelSpec("Perplexity", "", ("perplexity",), log_axis=True),
    PanelSpec("Reward", "mean of the answers", ("reward",)),
    PanelSpec("Reward spread", "standard deviation", ("reward_std",)),
    PanelSpec("Implicit rewards", "", ("rewards/chosen", "rewards/rejected")),
    PanelSpec("Reward margin", "chosen − rejected", ("rewards/margins",)),
    PanelSpec("Preference accuracy", "share of pairs", ("rewards/accuracies",)),
    PanelSpec("Log-probabilities", "nats per answer", ("logps/chosen", "logps/rejected")),
    PanelSpec(
        "Accuracy", "share of pairs that are ranked, or of answers that are classified, correctly", ("accuracy",)
    ),
    PanelSpec("Score margin", "chosen − rejected", ("margin",)),
    PanelSpec("Mean scores", "", ("chosen_reward", "rejected_reward", "mean_reward")),
    PanelSpec("Score range", "lowest and highest", ("min_reward", "max_reward")),
    PanelSpec("Expected calibration error", "share", ("calibration",)),
    PanelSpec("KL estimate", "mean log-ratio to the reference model, nats", ("kl",)),
    PanelSpec("KL per answer", "nats", ("objective/kl",)),
    PanelSpec("KL coefficient", "", ("kl_coef",)),
    PanelSpec("KL of the updates", "to the policy that sampled, nats per token", ("approx_kl",)),
    PanelSpec("ORPO loss terms", "nats", ("nll_loss", "log_odds_ratio", "log_odds_chosen")),
    PanelSpec("Distillation loss terms", "nats", ("task_loss", "distill_loss")),
    PanelSpec("Policy loss", "", ("policy_loss",)),
    PanelSpec("Value loss", "", ("value_loss",)),
    PanelSpec("Clipped ratios", "share of tokens", ("clip_fraction",)),
    PanelSpec("Explained variance of the values", "", ("explained_variance",)),
    PanelSpec("Advantage spread", "standard deviation", ("advantage_std",)),
    PanelSpec("Prompt groups with equal rewards", "share of groups", ("frac_reward_zero_std",)),
    PanelSpec("Answer length", "tokens", ("completions/mean_length",)),
    PanelSpec("Finished answers", "share of answers", ("completions/finished",)),
    PanelSpec("Answers truncated for the reward model", "share of answers", ("completions/truncated_for_reward",)),
    PanelSpec("Entropy", "nats per token", ("entropy",)),
    PanelSpec("BLEU", "0 to 100", ("bleu",)),
    PanelSpec("ROUGE", "F-measure", ("rouge1", "rouge2", "rougeL")),
    PanelSpec("Answers that end", "share of answers", ("answers/finished",)),
    PanelSpec("Length of answers", "tokens", ("answers/tokens",)),
)
SPEED = (
    PanelSpec("Learning rate", "", ("learning_rate",)),
    PanelSpec("Gradient norm", "before clipping", ("grad_norm",), log_axis=True),
    PanelSpec("Speed", "tokens per second", ("tokens_per_second",)),
    PanelSpec("Padding saved", "share of positions", ("padding_saved",)),
    PanelSpec("Model FLOPs utilisation", "share of the peak of matrix products", ("mfu",)),
)
SPECS = {metric: spec for spec in (*QUALITY, *SPEED) for metric in spec.metrics}


def label(metric: str) -> str:
    """A metric in words: `eval_rewards/margins` is "evaluation reward margin"."""
    name = metric.removeprefix("eval_")
    spec = SPECS.get(name)
    if spec is not None and len(spec.metrics) == 1:
        name = spec.title if spec.title[:2].isupper() else spec.title[0].lower() + spec.title[1:]
    words = name.replace("_", " ")
    return f"evaluation {words}" if metric.startswith("eval_") else words


def panels(points: PointsOf, first: Sequence[str] = ("loss",)) -> tuple[list[Panel], list[Panel]]:
    """How good the model is, and how the run went, from the points of each metric. A metric without a panel of its own gets one under its name; the panels of the metrics
    `first` come first. Left out are curves that never change, unless they are of `first`, and those that another panel has already."""
    curves = _curves(points, first)
    others = dict.fromkeys(name for name in map(_without_prefix, curves) if name not in SPECS)
    quality = [*QUALITY, *(PanelSpec(label(name), "", (name,)) for name in others)]
    quality.sort(
        key=lambda spec: min((first.index(name) for name in spec.metrics if name in first), default=len(first))
    )
    drawn = _with_curves(quality, curves)
    return drawn, _with_curves(SPEED, curves)


def unchanged(points: PointsOf, first: Sequence[str] = ("loss",)) -> list[tuple[str, float]]:
    """The metrics that had the same value at every log, with that value: they have no curve."""
    constant = {name: of_metric for name, of_metric in points.items() if is_constant(of_metric)}
    return [
        (name, of_metric[0][1])
        for name, of_metric in constant.items()
        if _without_prefix(name) not in first and len(of_metric) > 1
    ]


def _curves(points: PointsOf, first: Sequence[str]) -> dict[str, Series]:
    """A series for each metric that changes; one value is no curve, except for the loss."""
    return {
        name: Series(name, thinned(of_metric), name.startswith("eval_"))
        for name, of_metric in points.items()
        if (len(of_metric) > 1 or name in ("eval_loss", "loss"))
        and (_without_prefix(name) in first or len(of_metric) == 1 or not is_constant(of_metric))
    }


def is_constant(points: Sequence[Point]) -> bool:
    """Whether a metric had one value at every log."""
    values = [value for _, value in points]
    return max(values) - min(values) <= SAME * max(map(abs, values))


def _with_curves(specs: Iterable[PanelSpec], curves: Mapping[str, Series]) -> list[Panel]:
    drawn: list[Panel] = []
    seen: list[list[Point]] = []
    for spec in specs:
        names = [name for metric in spec.metrics for name in (metric, f"eval_{metric}") if name in curves]
        of_panel = [curves[name] for name in names if curves[name].points not in seen]
        if of_panel:
            drawn.append(Panel(spec.title, spec.unit, of_panel, spec.log_axis))
            seen += [series.points for series in of_panel if len(series.points) > 2]
    return drawn


def points_of(log: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> dict[str, list[Point]]:
    """(step, value) of every metric, in order of steps: of the log, and of the evaluations in `eval/metrics.json`, which the log lacks where
    they were made before or after training."""
    points = _logged_points(log)
    for name, evaluated in _evaluated_points(log, evaluation).items():
        points[name] = sorted((dict(evaluated) | dict(points.get(name, ()))).items())
    return points


def _logged_points(log: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    points: dict[str, list[Point]] = {}
    for entry in log:
        for name, value in entry.items():
            if _is_metric(name) and is_number(value) and math.isfinite(value):
                points.setdefault(name, []).append((entry["step"], value))
    return points


def _evaluated_points(log: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> dict[str, list[Point]]:
    """The metrics of `eval/metrics.json` by step: `before` is step 0, `after` the last one."""
    last = max((entry["step"] for entry in log), default=0)
    listed = evaluation.get("during")
    during = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    of_steps: list[tuple[Any, Any]] = [(0, evaluation.get("before")), (last, evaluation.get("after"))]
    of_steps[1:1] = [(entry.get("step"), entry) for entry in during]
    points: dict[str, dict[float, float]] = {}
    for step, document in of_steps:
        for name, value in numbers(document).items():
            if is_number(step) and _is_metric(name) and math.isfinite(value):
                points.setdefault(f"eval_{_without_prefix(name)}", {})[step] = value
    return {name: sorted(by_step.items()) for name, by_step in points.items() if len(by_step) > 1}


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most about `most` points: the lowest and the highest of each stretch, so that no peak is lost, and both ends."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2 - 1
    inner = points[1:-1]
    chosen = [points[0]]
    for index in range(stretches):
        stretch = inner[index * len(inner) // stretches : (index + 1) * len(inner) // stretches]
        low, high = (pick(range(len(stretch)), key=lambda at: stretch[at][1]) for pick in (min, max))
        chosen += [stretch[at] for at in sorted({low, high})]
    return [*chosen, points[-1]]


def _without_prefix(name: str) -> str:
    return name.removeprefix("eval_")


def _is_metric(name: str) -> bool:
    return _without_prefix(name) not in NOT_METRICS and not name.endswith("_seconds")
