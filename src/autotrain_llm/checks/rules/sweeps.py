"""What a sweep needs: parameters that can be searched, values that are possible, a metric that the run reports, a place to keep the study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from autotrain_llm.checks.rules.flags import exactly, learning_rates
from autotrain_llm.config.metric_choice import metric_directions, so_that_it_is_reported
from autotrain_llm.config.registry import GROUP, PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import (
    moves_the_measure,
    searchable,
    spaces_of,
    study_name,
    without_password,
    written_spaces,
)
from autotrain_llm.config.sequence_length import FLAGS as LENGTHS
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.output_dir import Output, earlier_sweep
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.nearest import nearest
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.search import describe, read_space
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer

MOST_TRIED = 8  # values of one parameter
# The package that speaks to a database, and the extra that installs it, by the scheme of its address.
DRIVERS = {
    "postgresql": (("psycopg", "psycopg2"), "postgresql"),
    "postgres": (("psycopg", "psycopg2"), "postgresql"),
    "mysql": (("pymysql", "MySQLdb"), "mysql"),
    "sqlite": ((), ""),
}


@rule(
    "P601",
    refuses="--use-sweep --sweep-params '{\"lerning_rate\": [1e-5, 1e-4]}'",
    accepts="--use-sweep --sweep-params '{\"lr\": [1e-5, 1e-4]}'",
)
def a_sweep_searches_parameters_that_the_trainer_reads(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` names something that is no parameter, that this trainer does not read, or that all trials have in common.

    Why: every trial would be the same, would fail, or would be measured on other rows than the next.
    Fix: the nearest name.
    """
    if not config.use_sweep or config.sweep_params is None:
        return
    written, usable = written_spaces(config), searchable(trainer)
    if not written:
        yield Finding(
            "--sweep-params names nothing to search", changes={"sweep_params": None}, parameters=("sweep_params",)
        )
    for name in written:
        field = name.replace("-", "_")
        if field not in usable:
            close = None if trainer.reads(field) else _by_alias(field) or nearest(field, usable, cutoff=0.5)
            near = f"; {close} is near" if close else f"; what can be: {', '.join(_often_searched(config, usable))}, …"
            yield Finding(
                f"--sweep-params: {name!r} can't be searched: {_why_not(field, trainer)}{near}",
                changes={"sweep_params": _without(config, name, close)},
                otherwise=f"which has {close} in place of {name}" if close else f"which leaves out {name}",
                parameters=("sweep_params",),
            )
        elif _is_off(field, config):
            switch = GROUP[PARAMS[field].group].switch or ""
            yield Finding(
                f"--sweep-params: {name} has no effect without {PARAMS[switch].flag}: all trials would be the same",
                changes={switch: True},
                otherwise=f"or leave out {name}",
                parameters=("sweep_params", switch),
            )


def _is_off(field: str, config: Config) -> bool:
    """Whether a parameter counts only together with a switch, and the switch is off."""
    switch = GROUP[PARAMS[field].group].switch
    return bool(switch) and not config.value_of(switch or "")


def _why_not(field: str, trainer: Trainer) -> str:
    if field not in PARAMS:
        return "there is no such parameter"
    return "all trials have it in common" if trainer.reads(field) else f"{trainer.name} does not read it"


def _often_searched(config: Config, usable: list[str]) -> list[str]:
    """Parameters that a sweep of this command would search by itself."""
    return [name for name in usable if PARAMS[name].search and not _is_off(name, config)]


def _by_alias(name: str) -> str | None:
    from autotrain_llm.config.aliases import ALIASES

    alias = nearest(name, ALIASES, cutoff=0.8)
    return ALIASES[alias] if alias else None


@rule(
    "P602",
    refuses="--use-sweep --sweep-params '{\"batch_size\": [0]}'",
    accepts="--use-sweep --sweep-params '{\"batch_size\": [2, 4]}'",
)
def a_sweep_searches_values_that_are_possible(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-params` holds a value or range that the parameter can't have, or says it in a way that means nothing.

    Why: every trial that draws it would be refused.
    Fix: values inside the parameter's bounds, numbers without quotes, a low below its high.
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
def a_sweep_goes_the_way_that_is_better(config: Config) -> Iterator[Finding]:
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
            f"{'less' if better == 'minimize' else 'more'} is better",
            changes={"sweep_direction": better},
            parameters=("sweep_direction", "sweep_metric"),
        )


@rule(
    "P604",
    WARNING,
    refuses="--trainer dpo --use-sweep --sweep-params '{\"dpo_beta\": [0.1, 0.5]}'",
    accepts="--trainer dpo --use-sweep --sweep-params '{\"lr\": [1e-7, 1e-6]}'",
)
def a_sweep_should_not_move_its_own_measure(config: Config) -> Iterator[Finding]:
    """A parameter of the loss is searched while the loss is what trials are compared by, or one that makes the reward while it is that.

    Why: losses, and rewards, of different betas or alphas are different quantities, and so are rewards of other weights.
    Fix: compare by accuracy; what scores answers is decided before a search.
    """
    if not config.use_sweep:
        return
    movers = moves_the_measure(config)
    moved = [name for name in written_spaces(config) if name.replace("-", "_") in movers]
    if moved:
        steady = next((name for name in metric_directions(config) if name.endswith(("accuracies", "accuracy"))), None)
        yield Finding(
            f"--sweep-params searches {', '.join(moved)}, which changes what --sweep-metric {config.sweep_metric} measures",
            changes={"sweep_metric": steady, "sweep_direction": "maximize"} if steady else EMPTY,
            parameters=("sweep_params", "sweep_metric"),
        )


@rule(
    "P605",
    refuses="--trainer sft --use-sweep --sweep-metric eval_bleu",
    accepts="--trainer sft --use-sweep --sweep-metric eval_bleu --use-enhanced-eval --eval-metrics bleu",
)
def a_sweep_compares_by_what_the_run_reports(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--sweep-metric` names something that this run does not report of evaluation rows.

    Why: a trial without the number can't be compared with the others, which would be found out after it was trained.
    Fix: one of the trainer's metrics, or of those that `--use-enhanced-eval` adds.
    """
    if not config.use_sweep or not trainer.metrics:
        return
    metric, reported = str(config.sweep_metric), metric_directions(config)
    if metric in reported:
        return
    yield Finding(
        f"--sweep-metric {metric} is not reported by {trainer.name}, which reports {', '.join(reported)}",
        changes=so_that_it_is_reported(config, "sweep_metric", reported),
        parameters=("sweep_metric",),
    )


def _without(config: Config, name: str, close: str | None) -> dict[str, Any] | None:
    """The spaces without one of them, or with it under another name; None where nothing is left to search."""
    spaces = written_spaces(config)
    space = spaces.pop(name)
    if close is not None:
        spaces.setdefault(close, space)
    return spaces or None


@rule("P606", refuses="--use-sweep --eval-strategy no", accepts="--use-sweep --eval-strategy epoch --valid-split 0.1")
def a_sweep_evaluates(config: Config) -> Iterator[Finding]:
    """A sweep with `--eval-strategy no`.

    Why: trials are compared by what is measured on evaluation rows.
    Fix: evaluate.
    """
    if config.use_sweep and config.eval_strategy == "no":
        yield Finding(
            f"--sweep-metric {config.sweep_metric} is measured when evaluating, and --eval-strategy is no",
            changes={"eval_strategy": "epoch"},
            parameters=("sweep_metric", "eval_strategy"),
        )


@rule("P607")
def a_sweep_has_rows_to_compare_by(config: Config, context: RunContext) -> Iterator[Finding]:
    """No evaluation rows are left once they are prepared.

    Why: trials are compared by what is measured on evaluation rows.
    Fix: other rows to evaluate on.
    """
    prepared = context.prepared
    if config.use_sweep and prepared is not None and len(prepared.train) and not len(prepared.valid):
        yield Finding(
            f"--sweep-metric {config.sweep_metric} is measured on evaluation rows, and none are left",
            changes={"valid_split": 0.1, **({"eval_dataset_path": None} if config.eval_dataset_path else {})},
            otherwise="or --eval-dataset-path with a file of which rows are left"
            if config.eval_dataset_path
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

    Why: a range has no end of values; a grid tries every combination of a few.
    Fix: lists of choices, or another sampler.
    """
    if not config.use_sweep or config.sweep_sampler != "grid":
        return
    ranges = [f"{name} ({describe(search)})" for name, search in spaces_of(config).items() if not search.choices]
    if ranges:
        yield Finding(
            f"--sweep-sampler grid tries every combination of choices, and these are ranges: {', '.join(ranges)}",
            changes={"sweep_sampler": "tpe"},
            otherwise="or --sweep-params with a list of choices for each",
            parameters=("sweep_sampler", "sweep_params"),
        )


@rule(
    "P609",
    WARNING,
    refuses="--use-sweep --sweep-sampler grid --sweep-n-trials 2 --sweep-params '{\"lr\": [1e-6, 1e-5, 1e-4]}'",
    accepts="--use-sweep --sweep-sampler grid --sweep-n-trials 3 --sweep-params '{\"lr\": [1e-6, 1e-5, 1e-4]}'",
)
def a_grid_should_be_tried_whole(config: Config) -> Iterator[Finding]:
    """`--sweep-n-trials` is smaller than the grid.

    Why: the combinations at its end are never tried.
    Fix: as many trials as combinations, or another sampler.
    """
    if not config.use_sweep or config.sweep_sampler != "grid":
        return
    spaces = spaces_of(config)
    size = math.prod(len(search.choices) for search in spaces.values())
    if spaces and size > config.sweep_n_trials:
        yield Finding(
            f"--sweep-n-trials {config.sweep_n_trials} tries the first of the grid's {size} combinations only",
            changes={"sweep_n_trials": size},
            parameters=("sweep_n_trials", "sweep_sampler"),
        )


@rule("P615")
def a_value_that_is_searched_is_not_refused(config: Config, trainer: Trainer, machine: Machine) -> Iterator[Finding]:
    """A value of `--sweep-params` with which the command would be refused: it contradicts another flag, or this machine can't do it.

    Why: a trial that draws it is refused and says nothing about the others. An error where no value of a parameter is left.
    Fix: leave the value out.
    """
    if not config.use_sweep or config.sweep_params is None:
        return
    usual = set(_refusals(config, trainer, machine))
    for name, search in spaces_of(config).items():
        values = search.choices or (search.low, search.high)
        tried = {value: _refusals(config.replace({name: value}), trainer, machine) for value in values[:MOST_TRIED]}
        refused = {value: found for value, found in tried.items() if found.keys() - usual}
        for value, found in refused.items():
            why = next(message for code, message in found.items() if code not in usual)
            yield Finding(
                f"--sweep-params: {name} {plain(value)} would be refused: {why}",
                fix=f"leave {plain(value)} out",
                parameters=("sweep_params", name),
                severity=WARNING if len(refused) < len(values) else ERROR,
            )


@rule("P617", WARNING)
def rates_that_are_searched_are_not_all_far_off(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """Every learning rate that `--sweep-params` has to try is far from what works for this trainer.

    Why: all trials diverge, or none learns, and the best of them says nothing. A search that reaches into what works is left alone.
    Fix: a search around the value that is shown.
    """
    search = spaces_of(config).get("lr") if config.use_sweep and config.sweep_params is not None else None
    if search is None or str(config.model or "").startswith("scratch:"):
        return
    rates = [float(rate) for rate in search.choices or (search.low, search.high)]
    low, high, usual, method = learning_rates(trainer, bool(config.peft))
    if low <= max(rates) and min(rates) <= high:
        return
    yield Finding(
        f"--sweep-params: every lr from {exactly(min(rates))} to {exactly(max(rates))} is far {'above' if min(rates) > high else 'below'} what "
        f"{trainer.name} stands with {method}; {exactly(usual)} is usual",
        fix=f'"lr": [{exactly(usual / 5)}, {exactly(usual * 5)}, "log"] in --sweep-params',
        parameters=("sweep_params", "lr"),
    )


def _refusals(config: Config, trainer: Trainer, machine: Machine) -> dict[str, str]:
    """What flags and machine alone refuse a command for, by code; the sweep itself aside."""
    from autotrain_llm.checks.rules.every import RULES

    known = {"config": config, "trainer": trainer, "machine": machine}
    rules = [rule for rule in RULES.values() if set(rule.needs) <= set(known) and not rule.code.startswith("P6")]
    found = [finding for rule in rules for finding in rule.check(known)]
    return {finding.code: finding.message for finding in found if finding.severity == ERROR}


@rule("P616", WARNING)
def a_length_that_is_searched_is_inside_the_context(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--sweep-params` tries lengths that are longer than the model's context.

    Why: such a trial is refused, as the command would be with that length.
    Fix: the context.
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


@rule("P610")
def a_study_is_kept_in_a_database_that_is_known(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--sweep-storage` is no address of a database that a study can be kept in, or the package that speaks to it is missing.

    Why: the first trial could not be written down.
    Fix: an address such as `postgresql://user:password@host/database`; the package that is named.
    """
    url = config.sweep_storage
    if not config.use_sweep or not url:
        return
    scheme, separator, _ = str(url).partition("://")
    kind, _, driver = scheme.partition("+")
    if kind not in DRIVERS or not separator:
        yield Finding(
            f"--sweep-storage must begin with postgresql://, mysql:// or sqlite:///, got {without_password(str(url))}",
            fix="--sweep-storage postgresql://user:password@host/database",
            parameters=("sweep_storage",),
        )
        return
    if kind == "sqlite" and not str(url).partition("://")[2].startswith("/"):
        yield Finding(
            f"--sweep-storage {url}: the address of an SQLite file has three slashes before its path, or four before one from the root",
            changes={"sweep_storage": f"sqlite:///{str(url).partition('://')[2] or 'study.db'}"},
            parameters=("sweep_storage",),
        )
    packages, extra = DRIVERS[kind]
    if packages and not any(machine.has_package(name) for name in ((driver,) if driver else packages)):
        yield Finding(
            f"--sweep-storage {kind}:// needs the package {driver or packages[0]}, which is not installed",
            fix=f'pip install "autotrain-llm[{extra}]"',
            parameters=("sweep_storage",),
        )


@rule("P611")
def sweeps_of_wandb_need_a_login(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--sweep-backend wandb` without the package, or without a login.

    Why: Weights & Biases proposes the values of each trial from its server.
    Fix: install and log in, or the default, which needs nothing.
    """
    if not config.use_sweep or config.sweep_backend != "wandb":
        return
    if not machine.has_package("wandb"):
        yield Finding(
            "--sweep-backend wandb needs the package wandb",
            changes={"sweep_backend": "optuna"},
            otherwise='or pip install "autotrain-llm[wandb]"',
            parameters=("sweep_backend",),
        )
    if not machine.has_wandb_login:
        yield Finding(
            "--sweep-backend wandb needs a login, and there is none in WANDB_API_KEY or in .netrc",
            changes={"sweep_backend": "optuna"},
            otherwise="or wandb login",
            parameters=("sweep_backend",),
        )
    elif config.offline:
        yield Finding(
            "--sweep-backend wandb asks a server for its values and --offline forbids it",
            changes={"sweep_backend": "optuna"},
            parameters=("sweep_backend", "offline"),
        )


@rule(
    "P612",
    WARNING,
    refuses="--use-sweep --sweep-backend wandb --sweep-pruner hyperband",
    accepts="--use-sweep --sweep-pruner hyperband",
)
def only_one_thing_should_steer_a_sweep(config: Config) -> Iterator[Finding]:
    """A parameter of the sweep that its backend has no use for.

    Why: with `--sweep-backend wandb` the server proposes values and keeps the trials, so that storage, study and pruner have no effect;
    `--sweep-name` names a study in `--sweep-storage`.
    Fix: remove it.
    """
    if not config.use_sweep:
        return
    if config.sweep_backend == "wandb":
        names: tuple[str, ...] = ("sweep_pruner", "sweep_storage", "sweep_name")
        why = "with --sweep-backend wandb"
    else:
        names = () if config.sweep_storage else ("sweep_name",)
        why = "without --sweep-storage"
    for name in names:
        if config.given(name):
            yield Finding(f"{PARAMS[name].flag} has no effect {why}", changes={name: None}, parameters=(name,))


@rule("P613")
def a_sweep_is_one_process_or_many_commands(config: Config, machine: Machine) -> Iterator[Finding]:
    """A sweep was started as several processes that train one model together.

    Why: a trial is one process. Several GPUs are used by giving the command several times, each with a GPU of its own: with `--resume`
    in the same folder, or with `--sweep-storage` anywhere.
    Fix: one process for each command.
    """
    if config.use_sweep and machine.processes > 1:
        yield Finding(
            f"--use-sweep runs trials of one process each, and {machine.processes} processes were started together",
            fix="CUDA_VISIBLE_DEVICES=0 autotrain llm …, and the same command with --resume for each further GPU",
            parameters=("use_sweep",),
        )


@rule("P614", refuses="--use-sweep --resume-from-checkpoint DIR", accepts="--use-sweep --resume --output-dir DIR")
def a_sweep_goes_on_as_a_whole(config: Config) -> Iterator[Finding]:
    """`--use-sweep` with `--resume-from-checkpoint`.

    Why: a checkpoint belongs to one run; a sweep goes on with its study.
    Fix: `--resume` and the sweep's folder.
    """
    if config.use_sweep and config.resume_from_checkpoint:
        yield Finding(
            "--resume-from-checkpoint goes on with one run, and --use-sweep with a study of many",
            fix="--resume --output-dir <folder of the sweep>",
            parameters=("use_sweep", "resume_from_checkpoint"),
        )


@rule("E407")
def a_resumed_sweep_must_be_the_same_sweep(config: Config, output: Output) -> Iterator[Finding]:
    """There is no sweep to go on with, or it was started with other values.

    Why: trials of another model, other rows or another space can't be compared with these.
    Fix: the flags of the sweep that is resumed; its `command.sh` holds them.
    """
    if not config.use_sweep or not config.resume:
        return
    earlier = earlier_sweep(output.folder)
    if earlier is None:
        yield Finding(
            f"--resume goes on with a sweep, and there is none in {output.folder}",
            changes={"resume": None},
            otherwise="to start afresh",
            parameters=("resume", "output_dir"),
        )
    elif earlier != study_name(config):
        yield Finding(
            f"the sweep in {output.folder} was started with other values than these",
            fix=f"the flags in {output.folder / 'command.sh'}, or another --output-dir",
            parameters=("resume", "output_dir"),
        )
