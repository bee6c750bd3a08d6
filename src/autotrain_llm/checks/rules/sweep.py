"""A sweep: the parameters and values that are searched, the metric that trials are compared by, the grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.rules.schedule import learning_rates
from autotrain_llm.config.aliases import OTHER_NAMES
from autotrain_llm.config.metric_choice import metric_directions, suggest_metric_fix
from autotrain_llm.config.registry import ANSWERING, GROUP, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import (
    SETTINGS_OF_WANDB,
    changes_metric_meaning,
    grid_size,
    own_values,
    searchable,
    spaces_of,
    written_spaces,
)
from autotrain_llm.config.sequence_length import FLAGS as LENGTHS
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SWEEP, of_flags
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.search import describe, read_space
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext

MOST_TRIED = 8  # values of one parameter
HELD_OUT = "--use-sweep --sweep-n-trials 2 --max-seq-length 16 --eval-dataset-path held_out.jsonl"


def _searches(values: str) -> str:
    """The flags of a sweep over these values, for an example."""
    return f"{SWEEP}--sweep-params '{values}'"


@rule(
    "P601",
    refuses="--use-sweep --sweep-params '{\"lerning_rate\": [1e-5, 1e-4]}'",
    accepts="--use-sweep --sweep-params '{\"lr\": [1e-5, 1e-4]}'",
)
def a_sweep_searches_parameters_that_the_trainer_reads(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` names something that is no parameter, that this trainer does not read, or that must be the same for all trials.

    Why: all trials would be the same, would fail, or would be evaluated on different rows. The model, the data and the evaluation settings are
    the same for all trials.
    Fix: the nearest name.
    """
    if not config.use_sweep or config.sweep_params is None:
        return
    spaces, usable = written_spaces(config), searchable(trainer)
    if not spaces:
        yield Finding(
            "--sweep-params names nothing to search", changes={"sweep_params": None}, parameters=("sweep_params",)
        )
    wrong = {name: _meant(name, trainer, usable) for name in spaces if name.replace("-", "_") not in usable}
    right = {name: space for name, space in spaces.items() if name not in wrong}
    for name, close in wrong.items():
        if close:
            right.setdefault(close, spaces[name])
    is_certain = all(OTHER_NAMES.get(name.replace("-", "_")) == close for name, close in wrong.items())
    is_certain &= len(right) == len(spaces)
    for name in spaces:
        field = name.replace("-", "_")
        if name in wrong:
            close = wrong[name]
            suggestion = (
                f"; did you mean {close}?" if close else f"; possible are {', '.join(_usual(config, usable))}, …"
            )
            changes = {"sweep_params": right or None}
            yield Finding(
                f"--sweep-params: {name!r} can't be searched: {_why_not(field, trainer)}{suggestion}",
                changes=changes if is_certain else EMPTY,
                guess=EMPTY if is_certain else changes,
                otherwise=f"which has {close} instead of {name}" if close else f"which leaves out {name}",
                parameters=("sweep_params",),
            )
        elif _is_off(field, config):
            switch = GROUP[PARAMS[field].group].switch or ""
            yield Finding(
                f"--sweep-params: {name} has no effect without {flag_of(switch)}: all trials would be the same",
                changes={switch: True},
                otherwise=f"or leave out {name}",
                parameters=("sweep_params", switch),
            )


@rule(
    "P618",
    refuses="""--use-sweep --sweep-params '{"method": "bayes", "parameters": {"lr": {"min": 1e-5, "max": 1e-4}}}'""",
    accepts="""--use-sweep --sweep-params '{"lr": {"min": 1e-5, "max": 1e-4}}'""",
)
def a_sweep_config_of_wandb_has_other_settings(config: Config) -> Iterator[Finding]:
    """`--sweep-params` is a whole sweep config of Weights & Biases, with its settings beside `parameters`.

    Why: method, metric and early stopping are flags here; in the file they would have no effect.
    Fix: the parameters alone, with the flags that the finding shows.
    """
    written = config.sweep_params or {}
    settings = [name for name in written if name in SETTINGS_OF_WANDB]
    if not config.use_sweep or not settings or not isinstance(written.get("parameters"), dict):
        return
    changes: dict[str, Any] = {"sweep_params": written_spaces(config)}
    sampler = {"grid": "grid", "random": "random", "bayes": "tpe"}.get(str(written.get("method")))
    if sampler and not config.given("sweep_sampler"):
        changes["sweep_sampler"] = sampler
    metric = written.get("metric")
    name = str(metric.get("name", "")).replace("/", "_") if isinstance(metric, dict) else ""
    if name in metric_directions(config) and not config.given("sweep_metric"):
        changes["sweep_metric"] = name
    yield Finding(
        f"--sweep-params is a sweep config of Weights & Biases: {', '.join(settings)} are not read from it",
        changes=changes,
        parameters=("sweep_params", "sweep_sampler", "sweep_metric"),
    )


def _meant(name: str, trainer: Trainer, usable: list[str]) -> str | None:
    """The parameter that a name which can't be searched probably means."""
    field = name.replace("-", "_")
    return None if trainer.reads(field) else _by_alias(field) or nearest(field, usable, cutoff=0.5)


def _is_off(field: str, config: Config) -> bool:
    """Whether a parameter only has an effect with a switch, and the switch is off."""
    switch = GROUP[PARAMS[field].group].switch
    return bool(switch) and not config.value_of(switch or "")


def _why_not(field: str, trainer: Trainer) -> str:
    if field not in PARAMS or field in ANSWERING:
        return "there is no such parameter"
    return "it must be the same for all trials" if trainer.reads(field) else f"{trainer.name} does not read it"


def _usual(config: Config, usable: list[str]) -> list[str]:
    """Parameters that a sweep of this command would search by default."""
    return [name for name in usable if PARAMS[name].search and not _is_off(name, config)]


def _by_alias(name: str) -> str | None:
    """The parameter that has this name, or nearly, in other tools."""
    close = nearest(name, OTHER_NAMES, cutoff=0.8)
    return OTHER_NAMES[close] if close else None


@rule(
    "P602",
    refuses="--use-sweep --sweep-params '{\"batch_size\": [0]}'",
    accepts="--use-sweep --sweep-params '{\"batch_size\": [2, 4]}'",
)
def a_sweep_searches_values_that_are_possible(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` has a value or range that the parameter can't have, or in a form that can't be read.

    Why: every trial with that value would be refused.
    Fix: values inside the parameter's bounds, numbers without quotes, a low end below the high end.
    """
    if not config.use_sweep or config.sweep_params is None:
        return
    usable = searchable(trainer)
    for name, space in written_spaces(config).items():
        field = name.replace("-", "_")
        for fault, fix in read_space(PARAMS[field], space)[1] if field in usable else ():
            yield Finding(f"--sweep-params: {name}: {fault}", fix=fix, parameters=("sweep_params",))


@rule(
    "P603",
    refuses="--use-sweep --sweep-metric eval_loss --sweep-direction maximize",
    accepts="--use-sweep --sweep-metric eval_loss --sweep-direction minimize",
)
def the_sweep_direction_matches_the_metric(config: Config) -> Iterator[Finding]:
    """`--sweep-direction` contradicts the metric.

    Why: maximising a loss finds the worst trial.
    Fix: the other direction, or none: the metric's own is the default.
    """
    if not config.use_sweep:
        return
    metric, direction = str(config.sweep_metric), config.sweep_direction
    better = metric_directions(config).get(metric)
    if better and direction in ("minimize", "maximize") and direction != better:
        yield Finding(
            f"--sweep-direction {direction} contradicts --sweep-metric {metric}, of which "
            f"{'lower' if better == 'minimize' else 'higher'} is better",
            changes={"sweep_direction": better},
            parameters=("sweep_direction", "sweep_metric"),
        )


@rule(
    "P604",
    WARNING,
    refuses="--trainer dpo --use-sweep --sweep-params '{\"dpo_beta\": [0.1, 0.5]}'",
    accepts="--trainer dpo --use-sweep --sweep-params '{\"lr\": [1e-7, 1e-6]}'",
)
def a_sweep_should_not_change_its_own_metric(config: Config) -> Iterator[Finding]:
    """A searched parameter changes the definition of the metric: one of the loss, or one that makes the reward.

    Why: losses and rewards of different betas, alphas or reward weights are different quantities, and can't be compared.
    Fix: compare by accuracy; decide what scores completions before a search.
    """
    if not config.use_sweep:
        return
    changing = changes_metric_meaning(config)
    moved = [name for name in written_spaces(config) if name.replace("-", "_") in changing]
    if moved:
        accuracy = next((name for name in metric_directions(config) if name.endswith(("accuracies", "accuracy"))), None)
        yield Finding(
            f"--sweep-params searches {', '.join(moved)}, which changes what --sweep-metric {config.sweep_metric} measures",
            changes={"sweep_metric": accuracy, "sweep_direction": "maximize"} if accuracy else EMPTY,
            parameters=("sweep_params", "sweep_metric"),
        )


@rule(
    "P605",
    refuses="--trainer sft --use-sweep --sweep-metric eval_bleu",
    accepts="--trainer sft --use-sweep --sweep-metric eval_bleu --use-enhanced-eval --eval-metrics bleu",
)
def a_sweep_compares_by_what_the_run_reports(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-metric` names a metric that this run does not report on its evaluation rows.

    Why: a trial without the metric can't be compared with the others, which would be noticed only after it was trained.
    Fix: one of the trainer's metrics, or of those that `--use-enhanced-eval` adds.
    """
    if not config.use_sweep or not trainer.metrics:
        return
    metric, reported = str(config.sweep_metric), metric_directions(config)
    if metric not in reported:
        changes, guess = suggest_metric_fix(config, "sweep_metric", reported)
        yield Finding(
            f"--sweep-metric {metric} is not reported by {trainer.name}, which reports {', '.join(reported)}",
            changes=changes,
            guess=guess,
            parameters=("sweep_metric",),
        )


@rule("P606", refuses="--use-sweep --eval-strategy no", accepts="--use-sweep --eval-strategy epoch --valid-split 0.1")
def a_sweep_evaluates(config: Config) -> Iterator[Finding]:
    """A sweep with `--eval-strategy no`.

    Why: trials are compared by a metric of the evaluation rows.
    Fix: evaluate.
    """
    if config.use_sweep and config.eval_strategy == "no":
        yield Finding(
            f"--sweep-metric {config.sweep_metric} is measured in evaluations, and --eval-strategy is no",
            changes={"eval_strategy": "epoch"},
            parameters=("sweep_metric", "eval_strategy"),
        )


@rule(
    "P607",
    follows_from=("D129",),
    example=of_flags(
        HELD_OUT,
        HELD_OUT,
        wrong="""yes word | head -n 40 | paste -s -d ' ' - | sed 's/.*/{"prompt": "&", "completion": "Yes"}/' > held_out.jsonl""",
        right="""echo '{"prompt": "Well?", "completion": "Yes"}' > held_out.jsonl""",
    ),
)
def a_sweep_has_rows_to_compare_by(config: Config, context: RunContext) -> Iterator[Finding]:
    """No evaluation rows are left after preparing them.

    Why: trials are compared by a metric of the evaluation rows.
    Fix: other evaluation rows.
    """
    prepared, path = context.prepared, config.eval_dataset_path
    if config.use_sweep and prepared is not None and len(prepared.train) and not len(prepared.valid):
        yield Finding(
            f"--sweep-metric {config.sweep_metric} is measured on evaluation rows, and none are left",
            changes={"valid_split": 0.1, **({"eval_dataset_path": None} if path else {})},
            otherwise="or --eval-dataset-path with a file whose rows can be used"
            if path
            else "or --eval-dataset-path FILE",
            parameters=("sweep_metric", "eval_dataset_path", "valid_split"),
        )


@rule(
    "P608",
    refuses='--use-sweep --sweep-sampler grid --sweep-params \'{"lr": {"low": 1e-5, "high": 1e-4}}\'',
    accepts="--use-sweep --sweep-sampler grid --sweep-params '{\"lr\": [1e-5, 1e-4]}'",
)
def a_grid_is_made_of_choices(config: Config) -> Iterator[Finding]:
    """`--sweep-sampler grid` with a range.

    Why: a grid tries every combination of listed values, and a range has no list.
    Fix: lists of values, or another sampler.
    """
    if not config.use_sweep or config.sweep_sampler != "grid":
        return
    ranges = [f"{name} ({describe(search)})" for name, search in spaces_of(config).items() if not search.choices]
    if ranges:
        yield Finding(
            f"--sweep-sampler grid tries every combination of listed values, and these are ranges: {', '.join(ranges)}",
            changes={"sweep_sampler": "tpe"},
            otherwise="or --sweep-params with a list of values for each",
            parameters=("sweep_sampler", "sweep_params"),
        )


@rule(
    "P609",
    WARNING,
    refuses="--use-sweep --sweep-sampler grid --sweep-n-trials 2 --sweep-params '{\"lr\": [1e-6, 1e-5, 1e-4]}'",
    accepts="--use-sweep --sweep-sampler grid --sweep-n-trials 3 --sweep-params '{\"lr\": [1e-6, 1e-5, 1e-4]}'",
)
def a_grid_should_be_tried_as_a_whole(config: Config) -> Iterator[Finding]:
    """`--sweep-n-trials` is smaller than the grid.

    Why: the last combinations are never tried.
    Fix: as many trials as combinations, or another sampler.
    """
    if not config.use_sweep or config.sweep_sampler != "grid":
        return
    spaces = spaces_of(config)
    size = math.prod(len(search.choices) for search in spaces.values())
    if spaces and size > config.sweep_n_trials:
        yield Finding(
            f"--sweep-n-trials {config.sweep_n_trials} tries only the first of the grid's {size} combinations",
            changes={"sweep_n_trials": size},
            parameters=("sweep_n_trials", "sweep_sampler"),
        )


@rule(
    "P619",
    WARNING,
    refuses="--use-sweep --sweep-n-trials 6 --sweep-params '{\"lr\": [1e-6, 1e-5]}' --lr 1e-5",
    accepts='--use-sweep --sweep-n-trials 6 --sweep-params \'{"lr": {"low": 1e-6, "high": 1e-5}}\'',
)
def more_trials_than_combinations_repeat_some(config: Config) -> Iterator[Finding]:
    """`--sweep-params` lists fewer combinations of values than `--sweep-n-trials`, and the sampler is not a grid.

    Why: the samplers propose values that were tried already, and a trial with the same values and the same seed ends with the same metric.
    Fix: a grid, which tries each combination once, or a range in place of a list.
    """
    spaces = spaces_of(config) if config.use_sweep and config.sweep_sampler != "grid" else {}
    if not spaces or not all(search.choices for search in spaces.values()):
        return
    own = own_values(config, spaces)
    size = grid_size(spaces, own)
    if size < config.sweep_n_trials:
        yield Finding(
            f"--sweep-params and the command's own values make {size} combinations, and --sweep-n-trials {config.sweep_n_trials} would repeat some of them",
            changes={"sweep_sampler": "grid", "sweep_n_trials": size},
            otherwise="or --sweep-params with a range",
            parameters=("sweep_n_trials", "sweep_params"),
        )


@rule(
    "P615",
    WARNING,
    varies=True,
    example=of_flags(
        _searches('{"mixed_precision": ["fp16", "fp32"]}'), _searches('{"mixed_precision": ["bf16", "fp32"]}')
    ),
)
def searched_values_are_not_refused(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """A value of `--sweep-params` with which the command would be refused: it contradicts another flag, or this machine can't do it.

    Why: a trial with that value is refused and tells nothing. An error if no value of a parameter is left.
    Fix: leave the value out.
    """
    if not config.use_sweep or config.sweep_params is None:
        return
    usual = _refusals(config, trainer, machine).keys()
    for name, search in spaces_of(config).items():
        values = search.choices or (search.low, search.high)
        reasons = {}
        for value in values[:MOST_TRIED]:
            refusals = _refusals(config.replace({name: value}), trainer, machine)
            new = [message for code, message in refusals.items() if code not in usual]
            if new:
                reasons[value] = new[0]
        for value, reason in reasons.items():
            yield Finding(
                f"--sweep-params: {name} {plain(value)} would be refused: {reason}",
                fix=f"leave {plain(value)} out",
                parameters=("sweep_params", name),
                severity=WARNING if len(reasons) < len(values) else ERROR,
            )


def _refusals(config: Config, trainer: Trainer, machine: Machine) -> dict[str, str]:
    """The errors of a command that flags and machine alone tell, by code; without those about sweeps."""
    from autotrain_llm.checks.rules.every import RULES

    inputs = {"config": config, "trainer": trainer, "machine": machine}
    rules = [rule for rule in RULES.values() if rule.function and rule.needs <= inputs.keys()]
    errors = [
        finding
        for rule in rules
        if not rule.subject.startswith("sweep")
        for finding in rule.check(inputs)
        if finding.severity == ERROR
    ]
    return {finding.code: finding.message for finding in errors}


@rule("P617", WARNING, example=of_flags(_searches('{"lr": [2, 10]}'), _searches('{"lr": [1e-5, 1e-4]}')))
def searched_learning_rates_should_suit_the_trainer(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Every learning rate in `--sweep-params` is far outside the range that works for this trainer.

    Why: all trials diverge, or none learns, and the best of them tells nothing. A search that overlaps with what works is not reported.
    Fix: a search around the value that the finding shows.
    """
    search = spaces_of(config).get("lr") if config.use_sweep and config.sweep_params is not None else None
    if search is None or str(config.model or "").startswith("scratch:"):
        return
    rates = [float(rate) for rate in search.choices or (search.low, search.high)]
    low, high, usual, method = learning_rates(trainer, bool(config.peft), config.optimizer)
    if low <= max(rates) and min(rates) <= high:
        return
    yield Finding(
        f"--sweep-params: every lr from {plain(min(rates))} to {plain(max(rates))} is far too {'high' if min(rates) > high else 'low'} for "
        f"{trainer.name} with {method}; {plain(usual)} is typical",
        fix=f'"lr": [{plain(usual / 5)}, {plain(usual * 5)}, "log"] in --sweep-params',
        parameters=("sweep_params", "lr"),
    )


@rule(
    "P616",
    WARNING,
    example=of_flags(_searches('{"max_seq_length": [64, 4096]}'), _searches('{"max_seq_length": [64, 128]}')),
)
def a_searched_length_fits_into_the_context(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--sweep-params` has lengths that are longer than the model's context.

    Why: such a trial is refused, as the command would be with that length.
    Fix: the context length.
    """
    context_length = context.context_length
    if not config.use_sweep or config.sweep_params is None or not context_length:
        return
    for name, search in spaces_of(config).items():
        longest = max((value for value in search.choices or (search.high,) if isinstance(value, int)), default=0)
        if name in LENGTHS and longest > context_length and not config.model_max_length:
            yield Finding(
                f"--sweep-params: {name} {longest} is longer than the model's context of {context_length}, and such a trial would be refused",
                fix=f"lengths up to {context_length}",
                parameters=("sweep_params", name),
            )
