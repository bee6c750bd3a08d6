"""The values of a trial: a function of the sweep, its seed, the trial's number and the trials before it.

Nothing here depends on the history of a process, so that a sweep that was stopped proposes what it would have proposed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.artifacts.study_values import distribution, encoded
from autotrain_llm.run.sweep.pruners import bracket_of
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, PRUNED, RUNNING, Trial

STATES = {
    COMPLETE: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    RUNNING: TrialState.RUNNING,
    INTERRUPTED: TrialState.RUNNING,
}  # any other trial has failed


def spaces_of(sweep: SweepPlan) -> dict[str, BaseDistribution]:
    """The search space as Optuna's distributions."""
    return {name: distribution(space, is_int=PARAMS[name].kind == "int") for name, space in sweep.space.items()}


def propose(sweep: SweepPlan, seed: int, number: int, before: Sequence[Trial]) -> dict[str, Any]:
    """The values of trial `number`: the command's own for the first, then a grid's combinations or what the sampler proposes."""
    own = [sweep.own] if sweep.own else []
    if number < len(own):
        return dict(own[number])
    if sweep.sampler == "grid":
        return _combinations(sweep)[number - len(own)]
    bracket = bracket_of(sweep, number, before)  # hyperband's trials are compared within their bracket
    same = [trial for trial in before if bracket_of(sweep, trial.number, before) == bracket]
    spaces = spaces_of(sweep)
    study = optuna.create_study(storage=in_memory(sweep, spaces, same), study_name=sweep.study, load_if_exists=True)
    study.sampler = _sampler(sweep, (seed + 1_000_003 * number) % 2**32)
    params = study.ask(spaces).params
    return {name: decoded(sweep.space[name], params[name]) for name in spaces}


def _combinations(sweep: SweepPlan) -> list[dict[str, Any]]:
    """Every combination of a grid but the command's own."""
    choices = [space["choices"][space["added"] :] for space in sweep.space.values()]
    grid = (dict(zip(sweep.space, values, strict=True)) for values in itertools.product(*choices))
    return [values for values in grid if values != sweep.own]


def _sampler(sweep: SweepPlan, seed: int) -> optuna.samplers.BaseSampler:
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(5, sweep.trials // 5))


def in_memory(sweep: SweepPlan, spaces: Mapping[str, BaseDistribution], trials: Sequence[Trial]) -> InMemoryStorage:
    """A study of these trials."""
    storage = InMemoryStorage()
    study_id = storage.create_new_study([StudyDirection[sweep.direction.upper()]], sweep.study)
    for trial in trials:
        storage.create_new_trial(study_id, frozen(trial, spaces))
    return storage


def frozen(trial: Trial, spaces: Mapping[str, BaseDistribution], **attributes: Any) -> FrozenTrial:
    """A trial as Optuna stores it, with these user attributes. Its own values may lie outside the search space."""
    state = STATES.get(trial.state, TrialState.FAIL)
    evaluations = dict(enumerate(trial.intermediate.values(), 1))
    value = trial.metric if state == TrialState.COMPLETE else None
    if state == TrialState.PRUNED and evaluations:
        value = evaluations[len(evaluations)]
    now = datetime.now()
    return FrozenTrial(
        number=trial.number,
        state=state,
        value=value,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params={name: encoded(trial.values[name]) for name in spaces},
        distributions=dict(spaces),
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=evaluations,
        trial_id=-1,
    )


def decoded(space: Mapping[str, Any], value: Any) -> Any:
    """A value as the command has it: Optuna stores lists as text."""
    return next((choice for choice in space.get("choices", ()) if encoded(choice) == value), value)
