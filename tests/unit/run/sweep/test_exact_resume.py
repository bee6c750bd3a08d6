"""A sweep whose process is killed, at whichever write, ends with the trials of one that was not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from autotrain_llm.run.sweep.pruners import bracket_of, should_prune
from autotrain_llm.run.sweep.trial import Trial
from support.studies import carry_out, in_a_process, open_study, results, sweep_plan

KILLS = 4  # at different writes, for each sampler and pruner
KILLED = 99


@pytest.fixture(autouse=True)
def _unsynchronised(monkeypatch):
    """Kills of a process lose nothing that it has written: waiting for the disk would take most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed_at(write: int, how: str) -> Callable[[], None]:
    """Makes the process end before, in the middle of, or after one of its writes to the journal."""

    def install() -> None:
        append, done = JournalFileBackend.append_logs, [0]

        def counted(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            done[0] += 1
            if done[0] < write:
                return append(self, logs)
            if how == "after":
                append(self, logs)
            if how == "in the middle":
                with Path(self._file_path).open("ab") as file:
                    file.write(b'{"op_code":4,"wor')
            os._exit(KILLED)

        JournalFileBackend.append_logs = counted  # type: ignore[method-assign]

    return install


QUICK = (("random", "median"), ("tpe", "halving"), ("grid", "hyperband"))
COMBINATIONS = [
    (sampler, pruner) for sampler in ("random", "tpe", "grid") for pruner in ("none", "median", "halving", "hyperband")
]


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in COMBINATIONS],
)
def test_a_sweep_that_was_killed_ends_with_the_same_trials(sampler, pruner, tmp_path):
    sweep = sweep_plan(sampler=sampler, pruner=pruner, trials=6 if sampler == "grid" else 7)
    undisturbed = open_study(sweep, tmp_path / "undisturbed")
    carry_out(undisturbed)
    expected = results(undisturbed)
    assert [entry[0] for entry in expected] == list(range(sweep.trials))
    assert pruner == "none" or any(entry[2] == "pruned" for entry in expected)
    journal = tmp_path / "undisturbed" / "sweep" / "study.journal"
    writes, random_writes = journal.read_bytes().count(b"\n"), random.Random(f"{sampler} {pruner}")
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        write, how = random_writes.randrange(1, writes + 1), ("before", "in the middle", "after")[kill % 3]

        def run(folder: Path = folder, write: int = write, how: str = how) -> None:
            killed_at(write, how)()
            carry_out(open_study(sweep, folder))

        assert in_a_process(run) == KILLED
        resumed = open_study(sweep, folder)
        carry_out(resumed)
        assert results(resumed) == expected, (write, how)
        assert not list((folder / "sweep").glob(".*"))


def test_a_trial_that_kills_its_process_three_times_is_given_up(tmp_path):
    sweep = sweep_plan(trials=3)

    def run() -> None:
        study = open_study(sweep, tmp_path)
        carry_out(study, lambda: os._exit(KILLED) if 1 in study._claims else None)

    assert [in_a_process(run) for _ in range(3)] == [KILLED] * 3
    assert in_a_process(run) == 0
    states = [(trial.number, trial.state, trial.kills) for trial in open_study(sweep, tmp_path).trials()]
    assert states == [(0, "complete", 0), (1, "lost", 3), (2, "complete", 0)]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_pruners_decide_as_those_of_optuna(pruner, direction):
    theirs = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=3),
        "halving": optuna.pruners.SuccessiveHalvingPruner(),
        "hyperband": optuna.pruners.HyperbandPruner(),
    }[pruner]
    sweep = sweep_plan(pruner=pruner, direction=direction)
    study = optuna.create_study(study_name=sweep.study, pruner=theirs, direction=direction)
    draw, pruned = random.Random(pruner), 0
    done = [Trial(0, {}, state="complete", intermediate={index: draw.gauss(0, 1) for index in range(1, 21)})]
    # Optuna's do not compare with the trials before the first complete one.
    rungs = (
        [4**rung for rung in range(3)]
        if pruner == "halving"
        else [3**rung for rung in range(bracket_of(sweep, 0, done), 3)]
    )
    values = {f"completed_rung_{index}": done[0].intermediate[rung] for index, rung in enumerate(rungs)}
    study.add_trial(optuna.trial.create_trial(value=0, intermediate_values=done[0].intermediate, system_attrs=values))
    for number in range(1, 60):
        trial, asked = Trial(number, {}), study.ask()
        trial.state = "complete"
        for evaluation in range(1, 21):
            trial.intermediate[evaluation] = value = draw.gauss(0, 1)
            asked.report(value, evaluation)
            expected = asked.should_prune()
            assert should_prune(sweep, trial, done) == expected, (number, evaluation)
            if expected:
                trial.state, pruned = "pruned", pruned + 1
                break
        study.tell(
            asked, value if trial.state == "complete" else None, state=optuna.trial.TrialState[trial.state.upper()]
        )
        done.append(trial)
    assert 10 < pruned < 60
