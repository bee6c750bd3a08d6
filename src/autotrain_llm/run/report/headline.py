"""The few numbers by which a training is judged: their first, last and best value. The end of a command, the report and a notebook show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from autotrain_llm.config.metric_choice import KL
from autotrain_llm.config.registry import METRICS, PARAMS, TRAINERS
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.metric import MAXIMIZE
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.run.artifacts.metric_changes import compare
from autotrain_llm.run.report.curves import Point, PointsOf, label

MOST = 4


class Headline(NamedTuple):
    """A metric with (step, value) of its first, last and best log. `best` is None where neither direction is better; step 0 is before training."""

    metric: str
    first: Point
    last: Point
    best: Point | None

    @property
    def title(self) -> str:
        """The metric in words."""
        text = label(self.metric)
        return text if text[:2].isupper() else text[:1].upper() + text[1:]

    @property
    def changed(self) -> bool:
        return self.first[0] != self.last[0]

    def in_words(self) -> str:
        """`5.21 → 1.32, best 1.3 at step 36`."""
        way = f"{self.first[1]:.4g} → {self.last[1]:.4g}" if self.changed else f"{self.last[1]:.4g}"
        return f"{way}{self.best_in_words()}"

    def best_in_words(self) -> str:
        """`, best 1.3 at step 36`; empty if the last value is the best one, as far as its digits show."""
        if self.best is None or not self.changed:
            return ""
        best, last = f"{self.best[1]:.4g}", f"{self.last[1]:.4g}"
        where = f"at step {self.best[0]:g}" if self.best[0] else "before training"
        return "" if best == last else f", best {best} {where}"


def headlines(plan: Mapping[str, Any], points: PointsOf, evaluation: Mapping[str, Any]) -> list[Headline]:
    """At most MOST numbers of a run: the first of its trainer's headline metrics, on evaluation rows if there are any; what enhanced evaluation adds;
    then the others. `plan` is the plan as JSON, `points` are those of each metric."""
    trainer = trainer_of(plan)
    evaluated = [f"eval_{name}" for name in trainer.headline]
    added = [f"eval_{name}" for name in _scores_of_texts(evaluation)]
    names = [evaluated[0], *added, trainer.headline[0], *evaluated, *trainer.headline]
    found = [name for name in dict.fromkeys(names) if points.get(name)]
    return [_headline(name, points[name], trainer) for name in found[:MOST]]


def _scores_of_texts(evaluation: Mapping[str, Any]) -> list[str]:
    """What enhanced evaluation says of generated answers: one number of each metric that was evaluated."""
    evaluated = {change.name for change in compare(evaluation)}
    reported = [
        [name for name in metric.reports if name in evaluated] for metric in METRICS.values() if metric.is_of_text
    ]
    return [names[0] for names in reported if names]


def trainer_of(plan: Mapping[str, Any]) -> Trainer:
    """The declaration of a plan's trainer, as its values vary it; the default one if the plan is damaged."""
    name, parameters = plan.get("trainer"), mapping(plan.get("parameters"))
    trainer = TRAINERS[name] if isinstance(name, str) and name in TRAINERS else TRAINERS[str(PARAMS["trainer"].default)]
    values = {key: mapping(cell).get("value") for key, cell in parameters.items()}
    try:
        return trainer.with_values(values)
    except TypeError:  # a value that is damaged
        return trainer


def _headline(name: str, points: Sequence[Point], trainer: Trainer) -> Headline:
    direction = _direction(name.removeprefix("eval_"), trainer)
    best = None
    if direction is not None:
        best = (max if direction == MAXIMIZE else min)(points, key=lambda point: point[1])
    return Headline(name, points[0], points[-1], best)


def _direction(name: str, trainer: Trainer) -> str | None:
    """The better direction of a metric; None if it has none, as a divergence, which is smallest before anything is learned."""
    if name.rpartition("/")[2] == KL:
        return None
    reported = {key: better for metric in METRICS.values() for key, better in metric.reports.items()}
    return {**reported, **trainer.metrics}.get(name)
