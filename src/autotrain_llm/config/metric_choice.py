"""The metrics of a run's evaluation, their better direction, and the metric that selects the best checkpoint: what a configuration alone
determines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotrain_llm.config.registry import METRICS
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.metric import MAXIMIZE, MINIMIZE, REFERENCES, Metric
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.trainer import Trainer

EVALUATION, LOSS, KL = "eval_", "eval_loss", "kl"
LIBRARY = "evaluate:"  # before the name or folder of a metric of that library
# Metrics of texts in that library of which less is better; it doesn't say so itself.
LOWER_IS_BETTER = frozenset(
    {"wer", "cer", "ter", "character", "perplexity", "mae", "mse", "mape", "smape", "brier_score", "toxicity"}
)
NEAR = 0.65  # from this similarity on, without the prefix, a name may be a typo of another


def metric_named(name: str) -> Metric | None:
    """The metric with this name in `--eval-metrics`, or with this alternative name; after `evaluate:` one of that library."""
    if name.strip().startswith(LIBRARY):
        return library_metric(name.strip().removeprefix(LIBRARY))
    plain = name.strip().lower().replace("-", "_").removeprefix(EVALUATION)
    return next((metric for metric in METRICS.values() if plain in (metric.name, *metric.also)), None)


def library_metric(source: str) -> Metric | None:
    """A metric of the library `evaluate`, by its name on the Hub or as a folder with a script; None without a name."""
    stem = source.rstrip("/").rpartition("/")[2].removesuffix(".py").replace("-", "_")
    if not stem:
        return None
    is_own = stem in METRICS or any(stem in metric.reports for metric in METRICS.values())
    return Metric(
        name=f"evaluate_{stem}" if is_own else stem,
        title=f"the metric {source} of the library evaluate",
        reports={f"evaluate_{stem}" if is_own else stem: MINIMIZE if stem in LOWER_IS_BETTER else MAXIMIZE},
        rows=REFERENCES,
        score=f"{LIBRARY}{source}",
        packages=("evaluate",),
    )


def library_sources(config: Config) -> list[str]:
    """The names and folders of the metrics of the library `evaluate` that the run computes."""
    metrics = chosen_metrics(config) if config.use_enhanced_eval else []
    return [
        metric.score.removeprefix(LIBRARY) for metric in metrics if metric.score and metric.score.startswith(LIBRARY)
    ]


def metrics_for(trainer: Trainer) -> list[Metric]:
    """The metrics that can be computed for a trainer."""
    return [metric for metric in METRICS.values() if metric.makes_sense_for(trainer)]


def chosen_metrics(config: Config) -> list[Metric]:
    """The metrics that are computed: the requested ones that apply to the trainer, else the usual ones."""
    trainer, requested = config.trainer_spec, config.eval_metrics
    if requested is None:
        usual = [metric for metric in metrics_for(trainer) if trainer.rows in metric.usual]
        costly = {KL} if trainer.samples and not penalises_divergence(config) and not config.peft else set()
        return [] if only_a_benchmark(config) else [metric for metric in usual if metric.name not in costly]
    named = {metric.name: metric for metric in map(metric_named, requested) if metric is not None}
    return [metric for metric in named.values() if metric.makes_sense_for(trainer)]


def penalises_divergence(config: Config) -> bool:
    """Whether a policy is held to its reference model by a penalty on their divergence."""
    return config.rl_kl_coef != 0 or config.rl_kl_target is not None


def measures_divergence(config: Config) -> bool:
    """Whether a run that samples answers has a reference model, for the penalty or only to measure the divergence."""
    is_metric = config.use_enhanced_eval and any(metric.name == KL for metric in chosen_metrics(config))
    return penalises_divergence(config) or is_metric


def only_a_benchmark(config: Config) -> bool:
    """Whether only a benchmark is evaluated, so that no evaluation rows are needed."""
    held_out = config.valid_split or config.eval_dataset_path
    return bool(config.eval_benchmark) and not config.eval_save_predictions and not held_out


def metric_directions(config: Config) -> dict[str, str]:
    """Every `eval_…` metric that this run reports, with its better direction: the trainer's, those of distillation, and those of enhanced
    evaluation."""
    reported = dict(config.trainer_spec.metrics)
    if config.trainer_spec.samples and not measures_divergence(config):
        reported = {name: better for name, better in reported.items() if name.rpartition("/")[2] != KL}
    if config.applies("use_distillation") and config.use_distillation and config.distill_alpha != 0:
        reported |= {"task_loss": MINIMIZE, "distill_loss": MINIMIZE}
    if config.use_enhanced_eval:
        for metric in chosen_metrics(config):
            reported |= metric.reports
    return {EVALUATION + name: direction for name, direction in reported.items()}


def checkpoint_metrics(config: Config) -> dict[str, str]:
    """The metrics that can select the best checkpoint. TRL's trainers select it before they add their own metrics to the loss."""
    directions = metric_directions(config)
    return {name: directions[name] for name in directions if name == LOSS} if config.engine == "trl" else directions


def best_metric(config: Config) -> tuple[str, str]:
    """The metric that selects the best checkpoint, and its better direction: the requested one, else the sweep's, else the trainer's first
    metric."""
    directions = checkpoint_metrics(config)
    requested = config.metric_for_best_model
    if not requested and config.use_sweep and config.sweep_metric in directions:
        requested = config.sweep_metric
    name = in_full(requested) if requested else next(iter(directions), LOSS)
    return name, directions.get(name, MINIMIZE)


def chooses_checkpoints(config: Config) -> bool:
    """Whether the run selects its best checkpoint."""
    return bool(config.load_best_model_at_end or config.early_stopping_patience is not None)


def in_full(name: str) -> str:
    """A metric's name with the prefix `eval_`, as it is reported."""
    return name if name.startswith(EVALUATION) else EVALUATION + name


def suggest_metric_fix(
    config: Config, parameter: str, reported: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes with which the run reports the metric that a parameter names; or a guess, the metric with the most similar name, else
    the one that the trainer is compared by: only that one is better for every trainer when it is better."""
    name = in_full(str(config.value_of(parameter)))
    plain = name.removeprefix(EVALUATION)
    adds = next((metric.name for metric in metrics_for(config.trainer_spec) if plain in metric.reports), None)
    if name in reported or not adds:
        usual = in_full(str(config.trainer_spec.defaults.get("sweep_metric", next(iter(reported), LOSS))))
        # Without the prefix that all have, which would make every name like every other.
        near = nearest(plain, [other.removeprefix(EVALUATION) for other in reported], cutoff=NEAR)
        close = EVALUATION + near if near else usual if usual in reported else None
        guess = {parameter: close} | _direction_change(config, parameter, reported.get(close)) if close else {}
        return {}, guess
    requested = config.eval_metrics or ()
    better = next(metric.reports[plain] for metric in metrics_for(config.trainer_spec) if plain in metric.reports)
    changes = {"use_enhanced_eval": True, "eval_metrics": ",".join([*requested, adds]), parameter: name}
    return changes | _direction_change(config, parameter, better), {}


def _direction_change(config: Config, parameter: str, better: str | None) -> dict[str, Any]:
    """The change of `--sweep-direction` if the given direction is wrong for the suggested metric."""
    given = config.sweep_direction if parameter == "sweep_metric" else None
    return {"sweep_direction": better} if given and better and given != better else {}
