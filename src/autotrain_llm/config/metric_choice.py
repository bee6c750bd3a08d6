"""What a run measures of its evaluation rows, which way is better, and by which of it the best checkpoint is chosen: all that a
configuration alone tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotrain_llm.config.registry import METRICS
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.metric import MINIMIZE, Metric
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.trainer import Trainer

EVALUATION, LOSS = "eval_", "eval_loss"


def metric_named(name: str) -> Metric | None:
    """The metric that a name of `--eval-metrics` means, by its own name or another that people write."""
    plain = name.strip().lower().replace("-", "_").removeprefix(EVALUATION)
    return next((metric for metric in METRICS.values() if plain in (metric.name, *metric.also)), None)


def metrics_for(trainer: Trainer) -> list[Metric]:
    """The metrics that make sense for a trainer."""
    return [metric for metric in METRICS.values() if metric.makes_sense_for(trainer)]


def chosen_metrics(config: Config) -> list[Metric]:
    """What is computed: the metrics that were asked for, else those that are usual; none that makes no sense."""
    trainer, requested = config.trainer_spec, config.eval_metrics
    if requested is None:
        return [] if only_a_benchmark(config) else [m for m in metrics_for(trainer) if trainer.rows in m.usual]
    named = {metric.name: metric for metric in map(metric_named, requested) if metric is not None}
    return [metric for metric in named.values() if metric.makes_sense_for(trainer)]


def only_a_benchmark(config: Config) -> bool:
    """Whether nothing is asked of the evaluation rows: then there need not be any."""
    held_out = config.valid_split or config.eval_dataset_path
    return bool(config.eval_benchmark) and not config.eval_save_predictions and not held_out


def metric_directions(config: Config) -> dict[str, str]:
    """Every `eval_…` that this run reports of its evaluation rows, each with the direction that is better: the trainer's own, a teacher's
    share of the loss, and what enhanced evaluation adds."""
    reported = dict(config.trainer_spec.metrics)
    if config.applies("use_distillation") and config.use_distillation and config.distill_alpha != 0:
        reported |= {"task_loss": MINIMIZE, "distill_loss": MINIMIZE}
    if config.use_enhanced_eval:
        for metric in chosen_metrics(config):
            reported |= metric.reports
    return {EVALUATION + name: direction for name, direction in reported.items()}


def checkpoint_metrics(config: Config) -> dict[str, str]:
    """The metrics that can say which checkpoint is best. TRL's trainers choose before they have added their own to the loss."""
    directions = metric_directions(config)
    return {name: directions[name] for name in directions if name == LOSS} if config.engine == "trl" else directions


def best_metric(config: Config) -> tuple[str, str]:
    """What the best checkpoint is best at, and the direction that is better: as was asked for, else what a sweep compares by, else the
    trainer's own first metric."""
    directions = checkpoint_metrics(config)
    requested = config.metric_for_best_model
    if not requested and config.use_sweep and config.sweep_metric in directions:
        requested = config.sweep_metric
    name = in_full(requested) if requested else next(iter(directions), LOSS)
    return name, directions.get(name, MINIMIZE)


def chooses_checkpoints(config: Config) -> bool:
    """Whether the run tells which of its checkpoints is the best one."""
    return bool(config.load_best_model_at_end or config.early_stopping_patience is not None)


def in_full(name: str) -> str:
    """A metric's name as it is reported."""
    return name if name.startswith(EVALUATION) else EVALUATION + name


def suggest_metric_fix(config: Config, parameter: str, reported: Mapping[str, str]) -> dict[str, Any]:
    """What to change so that the metric which a parameter names is one that the run reports; nothing where no name is near."""
    name = in_full(str(config.value_of(parameter)))
    plain = name.removeprefix(EVALUATION)
    adds = next((metric.name for metric in metrics_for(config.trainer_spec) if plain in metric.reports), None)
    if name in reported or not adds:
        close = nearest(name, reported)
        return {parameter: close} | _direction_change(config, parameter, reported.get(close)) if close else {}
    requested = config.eval_metrics or ()
    better = next(metric.reports[plain] for metric in metrics_for(config.trainer_spec) if plain in metric.reports)
    changes = {"use_enhanced_eval": True, "eval_metrics": ",".join([*requested, adds]), parameter: name}
    return changes | _direction_change(config, parameter, better)


def _direction_change(config: Config, parameter: str, better: str | None) -> dict[str, Any]:
    """The direction of a sweep, where the one that was given is not that of the metric that is put in place of the given one."""
    given = config.sweep_direction if parameter == "sweep_metric" else None
    return {"sweep_direction": better} if given and better and given != better else {}
