"""The section about a sweep: the trials of `sweep/trials.json`, the best values and the importances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.text import duration, plural
from autotrain_llm.run.artifacts.importances import CAVEAT, credible_importances
from autotrain_llm.run.report import formatting
from autotrain_llm.run.report.read import RunFiles

MAX_TRIALS = 200


class Trial(NamedTuple):
    """One line of the table; `cells` are its values in the order of the sweep's columns."""

    number: Any
    state: str
    cells: list[str]
    metric: str
    time: str
    why: str
    folder: str
    is_best: bool


class Sweep(NamedTuple):
    """The contents of the section. `left_out` counts trials beyond the table's limit."""

    study: str | None
    metric: str
    columns: list[str]
    trials: list[Trial]
    left_out: int
    total: str
    states: str
    best: list[tuple[str, str]]
    best_metric: str
    importances: list[tuple[str, str, int]]
    caveat: str
    best_number: Any


def sweep_of(files: RunFiles) -> Sweep | None:
    """The sweep of this folder; None for a run without one."""
    trials = files.sweep.get("trials")
    if not trials:
        return None
    best = files.sweep.get("best")
    best_number = best.get("number") if isinstance(best, dict) else best
    columns = list(dict.fromkeys(str(name) for trial in trials for name in values_of(trial)))
    listed = [_trial(trial, columns, best_number) for trial in trials]
    chosen: dict[str, Any] = next((trial for trial in trials if trial.get("number") == best_number), {})
    complete = sum(trial.state == "complete" for trial in listed)
    return Sweep(
        study=_sweep_plan(files).get("study"),
        metric=_metric_name(files),
        columns=columns,
        trials=listed[:MAX_TRIALS],
        left_out=max(len(listed) - MAX_TRIALS, 0),
        total=plural(len(listed), "trial"),
        states=_states(listed),
        best=[(str(name), formatting.exact(_rounded(value, 6))) for name, value in values_of(chosen).items()],
        best_metric=formatting.short(score_of(chosen)),
        importances=_importances(files.sweep.get("importances"), complete),
        caveat=CAVEAT.format(complete),
        best_number=chosen.get("number"),
    )


def _metric_name(files: RunFiles) -> str:
    """The metric that trials are compared by: as trials.json names it, else as the plan does."""
    named = [document.get("metric") for document in (files.sweep, _sweep_plan(files))]
    return next((name for name in named if isinstance(name, str)), "metric")


def _sweep_plan(files: RunFiles) -> dict[str, Any]:
    """The plan of the sweep."""
    return mapping(mapping(files.run.get("plan")).get("sweep"))


def _trial(trial: Mapping[str, Any], columns: list[str], best: Any) -> Trial:
    values = values_of(trial)
    return Trial(
        number=trial.get("number", ""),
        state=str(trial.get("state", "")).lower(),
        cells=[formatting.exact(_rounded(values[name])) if name in values else "" for name in columns],
        metric=formatting.short(score_of(trial)),
        time=duration(trial.get("seconds")),
        why=_why(trial),
        folder=str(trial.get("folder") or ""),
        is_best=best is not None and trial.get("number") == best,
    )


def values_of(trial: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values that a trial tried, also under Optuna's name for them."""
    return mapping(trial.get("values") or trial.get("params"))


def score_of(trial: Mapping[str, Any]) -> Any:
    """The metric of a trial, also under Optuna's name for it."""
    return trial.get("metric", trial.get("value"))


def _rounded(value: Any, digits: int = 4) -> Any:
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _why(trial: Mapping[str, Any]) -> str:
    """Why a trial failed, and its findings."""
    findings = trial.get("findings")
    items = [trial.get("failure"), *(findings if isinstance(findings, list) else [findings])]
    texts = [
        f"{item.get('message', '')} [{item.get('code', '')}]" if isinstance(item, dict) else item for item in items
    ]
    return "; ".join(str(text) for text in texts if text)


def _states(trials: list[Trial]) -> str:
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _importances(document: Any, complete: int) -> list[tuple[str, str, int]]:
    """(parameter, share as text, per cent), the most important first."""
    shares = credible_importances(document, complete)
    return [(name, f"{share:.0%}", max(0, min(100, round(100 * share)))) for name, share in shares.items()]
