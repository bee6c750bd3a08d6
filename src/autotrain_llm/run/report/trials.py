"""The trials of a sweep as the report lists them: `sweep/trials.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from autotrain_llm.data.wording import plural
from autotrain_llm.run.report import shown
from autotrain_llm.run.report.read import RunFiles, mapping

MOST_TRIALS = 200


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
    """What the section shows. `left_out` counts trials that the table has no room for."""

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


def sweep_of(files: RunFiles) -> Sweep | None:
    """The sweep of this folder; None where the run was none."""
    trials = files.sweep.get("trials")
    if not trials:
        return None
    best = files.sweep.get("best")
    best_number = best.get("number") if isinstance(best, dict) else best
    columns = list(dict.fromkeys(str(name) for trial in trials for name in _values(trial)))
    listed = [_trial(trial, columns, best_number) for trial in trials]
    chosen: dict[str, Any] = next((trial for trial in trials if trial.get("number") == best_number), {})
    return Sweep(
        study=_decided(files).get("study"),
        metric=_metric_name(files),
        columns=columns,
        trials=listed[:MOST_TRIALS],
        left_out=max(len(listed) - MOST_TRIALS, 0),
        total=plural(len(listed), "trial"),
        states=_states(listed),
        best=[(str(name), shown.exact(_short(held, 6))) for name, held in _values(chosen).items()],
        best_metric=shown.value(_score(chosen)),
        importances=_importances(files.sweep.get("importances")),
    )


def _metric_name(files: RunFiles) -> str:
    """What the trials are judged by: the record's word for it, else the plan's."""
    named = [document.get("metric") for document in (files.sweep, _decided(files))]
    return next((name for name in named if isinstance(name, str)), "metric")


def _decided(files: RunFiles) -> dict[str, Any]:
    """The plan's own part about the sweep."""
    return mapping(mapping(files.run.get("plan")).get("sweep"))


def _trial(trial: Mapping[str, Any], columns: list[str], best: Any) -> Trial:
    values = _values(trial)
    return Trial(
        number=trial.get("number", ""),
        state=str(trial.get("state", "")).lower(),
        cells=[shown.exact(_short(values[name])) if name in values else "" for name in columns],
        metric=shown.value(_score(trial)),
        time=shown.duration(trial.get("seconds")),
        why=_why(trial),
        folder=str(trial.get("folder") or ""),
        is_best=best is not None and trial.get("number") == best,
    )


def _values(trial: Mapping[str, Any]) -> Mapping[str, Any]:
    held = trial.get("values") or trial.get("params")
    return held if isinstance(held, dict) else {}


def _score(trial: Mapping[str, Any]) -> Any:
    return trial.get("metric", trial.get("value"))


def _short(held: Any, digits: int = 4) -> Any:
    return float(f"{held:.{digits}g}") if isinstance(held, float) else held


def _why(trial: Mapping[str, Any]) -> str:
    """Why a trial failed, or what was found about it."""
    said = [trial.get("failure")]
    findings = trial.get("findings")
    said += findings if isinstance(findings, list) else [findings]
    words = [f"{item.get('message', '')} [{item.get('code', '')}]" if isinstance(item, dict) else item for item in said]
    return "; ".join(str(word) for word in words if word)


def _states(trials: list[Trial]) -> str:
    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _importances(document: Any) -> list[tuple[str, str, int]]:
    """(parameter, share as text, per cent), the weightiest first."""
    if not isinstance(document, dict):
        return []
    held = [(str(name), share) for name, share in document.items() if isinstance(share, int | float)]
    ordered = sorted(held, key=lambda item: -item[1])
    return [(name, f"{share:.0%}", max(0, min(100, round(100 * share)))) for name, share in ordered]
