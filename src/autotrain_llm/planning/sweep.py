"""Decide the trials of a sweep and their search space."""

from __future__ import annotations

from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.config.search_space import (
    HELD_OUT,
    direction_of,
    grid_size,
    own_values,
    spaces_of,
    study_name,
    without_password,
)
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.declare.param import Search
from autotrain_llm.planning.plan import SweepPlan


def decide_sweep(config: Config, context: RunContext) -> SweepPlan | None:
    """The plan's `sweep`; None if the run has none. `own`, the values of the first trial, is None if the command leaves one of them unset."""
    if not config.use_sweep:
        return None
    spaces = spaces_of(config)
    own = own_values(config, spaces)
    trials = config.sweep_n_trials
    return SweepPlan(
        backend=config.sweep_backend,
        study=config.sweep_name or study_name(config),
        storage=without_password(config.sweep_storage) if config.sweep_storage else None,
        trials=min(trials, grid_size(spaces, own)) if config.sweep_sampler == "grid" else trials,
        timeout=config.sweep_timeout,
        metric=config.sweep_metric,
        direction=config.sweep_direction or direction_of(config),
        sampler=config.sweep_sampler,
        pruner=config.sweep_pruner,
        keep=config.sweep_keep,
        written=config.sweep_params is not None,
        space={name: _as_json(search, own[name] if own else None) for name, search in spaces.items()},
        own=own,
        held_out=None if _has_rows(config, context) else HELD_OUT,
    )


def _has_rows(config: Config, context: RunContext) -> bool:
    """Whether evaluation rows were named: by a flag, or by a mixture."""
    mixture = context.data.mixture
    return config.given("valid_split") or bool(config.eval_dataset_path) or bool(mixture and mixture.is_validated)


def _as_json(search: Search, own: Any) -> dict[str, Any]:
    """The JSON of a search space. The command's own value is always among the choices, because the first trial has it; `added` is the number
    of choices added for that."""
    if not search.choices:
        return {"low": search.low, "high": search.high, "log": search.is_log, "step": search.step}
    choices = [list(choice) if isinstance(choice, tuple) else choice for choice in search.choices]
    if own is None or own in choices:
        return {"choices": choices, "added": 0}
    return {"choices": [own, *choices], "added": 1}
