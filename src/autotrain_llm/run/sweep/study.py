"""The study of a sweep: the next trial, its result, and trials whose process was stopped or killed.

A trial keeps its number from its proposal to its result, whatever happens to the processes that work on it: one that was stopped or killed is carried on under its
number. So a study has trials 0, 1, 2, … and nothing else, and what is proposed and pruned follows from them alone (`proposals.py`, `pruners.py`).

The study is a journal file in the output folder, or a database that several machines share. Only the process that holds its lock changes it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from autotrain_llm.context.file_lock import owner_of_lock
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.declare.text import duration
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.sweep.claims import ALIVE, CLAIM, KILLED, Claim, claim_path, claimant
from autotrain_llm.run.sweep.database import FAULTS, Database, Lock
from autotrain_llm.run.sweep.proposals import frozen, propose, spaces_of
from autotrain_llm.run.sweep.pruners import should_prune
from autotrain_llm.run.sweep.silence import quietly
from autotrain_llm.run.sweep.trial import INTERRUPTED, LOST, RUNNING, StudyUnreachable, Trial, folder_of

MAX_KILLS = 3  # of processes by one trial, which may itself be the reason
POLL = 1.0  # seconds between two looks at other processes' trials, or at a database that can't be reached
PATIENCE = 600  # seconds in which a database may be restarted
RECORD = "record"  # the attribute of Optuna's trials that has ours

T = TypeVar("T")


class Entry(NamedTuple):
    """A trial as Optuna stores it, and ours."""

    stored: FrozenTrial
    trial: Trial


class Study:
    """One process's view of the study. `next` returns a trial to carry out, `tell` records its result.

    `pause` waits for so many seconds and may raise Interrupted; `note` tells the user something.
    """

    def __init__(
        self,
        sweep: SweepPlan,
        root: Path,
        seed: int,
        storage: BaseStorage | Database,
        lock: Lock,
        *,
        pause: Callable[[float], None] = time.sleep,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.sweep, self.root, self.seed = sweep, root, seed
        self.database = storage if isinstance(storage, Database) else None
        self.storage = storage.storage if isinstance(storage, Database) else storage
        self.lock = self.database.lock if self.database else lock
        self.pause, self.note = pause, note
        self.spaces = spaces_of(sweep)
        self.deadline = None if sweep.timeout is None else time.monotonic() + sweep.timeout
        self._claims: dict[int, Claim] = {}
        self._unreachable_since: float | None = None
        self.id = self._in_study(self._open)

    def _in_study(self, operation: Callable[[], T]) -> T:
        """Carry out an operation under the study's lock, again where a database can't be reached for a while."""
        faults = self.database.faults if self.database else FAULTS
        while True:
            try:
                with self.lock, quietly():
                    result = operation()
            except faults as fault:
                if self.database is None or isinstance(fault, optuna.exceptions.UpdateFinishedTrialError):
                    raise
                self._wait_for_database(fault)
            except KeyError as fault:  # Optuna's, for a study or a trial that is not there
                if self.database is None:
                    raise
                raise StudyUnreachable(
                    f"the study in {self.sweep.storage} has lost records that it had: {fault.args[0]}",
                    "--sweep-name <another name>",
                ) from fault
            else:
                self._unreachable_since = None
                return result

    def _wait_for_database(self, fault: Exception) -> None:
        now = time.monotonic()
        if self._unreachable_since is None:
            self._unreachable_since = now
            self.note(f"The study in {self.sweep.storage} can't be reached; trying again for {duration(PATIENCE)}")
        if now - self._unreachable_since >= PATIENCE:
            reason = type(fault.__cause__ or fault).__name__
            raise StudyUnreachable(
                f"the study in {self.sweep.storage} can't be reached any more ({reason})",
                "--resume, once it can be reached",
            ) from None
        try:
            self.pause(POLL)
            if self.database is not None:
                self.database.reconnect()
        except BaseException:
            self._unreachable_since = now - PATIENCE  # whoever ends the sweep does not want to wait
            raise

    def _open(self) -> int:
        """Find the study, or create it; its id."""
        direction = StudyDirection[self.sweep.direction.upper()]
        try:
            study_id = self.storage.get_study_id_from_name(self.sweep.study)
        except KeyError:
            return self.storage.create_new_study([direction], self.sweep.study)
        differs = self._other_search(study_id, direction)
        if differs:
            message = f"the study {self.sweep.study} was started with another search: {differs}"
            parameters = ("sweep_name", "sweep_params")
            raise Refused([Finding(message, "--sweep-name <another name>", parameters, code="E408")])
        for stored in self.storage.get_all_trials(study_id, deepcopy=False):
            path = claim_path(self.root, stored.number)
            if stored.state.is_finished() and path.exists() and owner_of_lock(path) is None:
                path.unlink(missing_ok=True)  # its process was killed when it had recorded the result
        return study_id

    def _other_search(self, study_id: int, direction: StudyDirection) -> str | None:
        """In what a study of this name, which in a database may be another sweep's, differs from this one."""
        if self.storage.get_study_directions(study_id) != [direction]:
            return "the direction differs"
        for stored in self.storage.get_all_trials(study_id, deepcopy=False):
            if RECORD not in stored.user_attrs:
                return f"trial {stored.number} is not of a sweep of this program"
            for name, space in stored.distributions.items():
                if name not in self.spaces or not _compatible(space, self.spaces[name]):
                    return f"{name} differs"
        return None

    def restore(self, known: Sequence[Trial]) -> int:
        """Add the results that a damaged study has lost, from the records in the folder; returns how many."""

        def add() -> int:
            entries, added = self.entries(), 0
            for trial in sorted(known, key=lambda trial: trial.number):
                is_over = trial.state not in (RUNNING, INTERRUPTED)
                if trial.number == len(entries) + added:
                    self.storage.create_new_trial(self.id, frozen(trial, self.spaces, **{RECORD: trial.as_json()}))
                    added += 1
                elif trial.number < len(entries) and is_over and not entries[trial.number].stored.state.is_finished():
                    self._record(entries[trial.number].stored._trial_id, trial)
                    self._finish(entries[trial.number].stored._trial_id, trial)
                    added += 1
            return added

        return self._in_study(add)

    # --- the next trial -----------------------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial, claimed; None when the sweep is done. Waits for other processes' last trials, whose processes may yet be killed."""
        while self.deadline is None or time.monotonic() < self.deadline:
            trial, others_work = self._in_study(self._claim_next)
            if trial is not None or not others_work:
                return trial
            self.pause(POLL)
        return None

    def _claim_next(self) -> tuple[Trial | None, bool]:
        """The next trial, claimed, and whether other processes work on trials."""
        entries = self.entries()
        others_work = False
        for stored, trial in entries:
            if stored.state.is_finished():
                continue
            if trial.number in self._claims:  # the database could not be reached in the middle of it
                return self._claim(stored._trial_id, trial), others_work
            owner = claimant(self._claim_path(trial), stored, self.database.now if self.database else None)
            if owner == ALIVE:
                others_work = True
                continue
            if trial.state in (RUNNING, INTERRUPTED):
                trial.kills += owner == KILLED
                if trial.kills < MAX_KILLS:
                    return self._claim(stored._trial_id, trial), others_work
                trial.state, trial.failure = LOST, f"its process was killed {trial.kills} times"
                self._record(stored._trial_id, trial)
            self._finish(stored._trial_id, trial)  # of others the result was recorded, and then the process was killed
            self._claim_path(trial).unlink(missing_ok=True)
        if len(entries) >= self.sweep.trials:
            return None, others_work
        return self._create(len(entries), [trial for _, trial in entries]), others_work

    def _create(self, number: int, before: Sequence[Trial]) -> Trial:
        values = propose(self.sweep, self.seed, number, before)
        own = number == 0 and self.sweep.own is not None
        trial = Trial(number, values, own=own, folder=folder_of(number))
        # In one write: a trial that another process finds has all of its values.
        trial_id = self.storage.create_new_trial(self.id, frozen(trial, self.spaces, **{RECORD: trial.as_json()}))
        return self._claim(trial_id, trial)

    def _claim(self, trial_id: int, trial: Trial) -> Trial:
        claim = self._claims.get(trial.number) or Claim(self._claim_path(trial), self.database, trial_id)
        self._claims[trial.number] = claim
        claim.show()
        trial.state, trial.host, trial.failure, trial.findings = RUNNING, socket.gethostname(), None, []
        self._record(trial_id, trial)
        return trial

    def _claim_path(self, trial: Trial) -> Path:
        return claim_path(self.root, trial.number)

    # --- results ------------------------------------------------------------------------------------------------------

    def should_prune(self, trial: Trial, value: float) -> bool:
        """Report an evaluation of a trial, the last one of `trial.intermediate`; whether to stop the trial early."""

        def report() -> bool:
            trial_id = self._claims[trial.number].trial_id
            self.storage.set_trial_intermediate_value(trial_id, len(trial.intermediate), value)
            others = [other for other in self._evaluated() if other.number != trial.number]
            return should_prune(self.sweep, trial, others)

        try:
            return self._in_study(report)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False  # another process has taken this one for killed, and finished the trial

    def tell(self, trial: Trial) -> None:
        """Record the result of a trial and release it. An interrupted trial waits for whoever resumes the sweep."""
        claim = self._claims.pop(trial.number)

        def record() -> None:
            self._record(claim.trial_id, trial)
            if trial.state != INTERRUPTED:
                self._finish(claim.trial_id, trial)
            elif self.database is not None:
                self.storage.set_trial_user_attr(claim.trial_id, CLAIM, None)

        try:
            claim.stop()
            self._in_study(record)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # as above
        finally:
            claim.release()

    def _record(self, trial_id: int, trial: Trial) -> None:
        self.storage.set_trial_user_attr(trial_id, RECORD, trial.as_json())

    def _finish(self, trial_id: int, trial: Trial) -> None:
        result = frozen(trial, self.spaces)
        self.storage.set_trial_state_values(trial_id, result.state, result.values)

    def entries(self) -> list[Entry]:
        """All trials, in the order of their numbers."""
        stored = self.storage.get_all_trials(self.id, deepcopy=False)
        return [Entry(entry, Trial.from_json(entry.user_attrs[RECORD])) for entry in stored]

    def _evaluated(self) -> list[Trial]:
        """All trials, those in training with the evaluations that they have reported."""
        entries = self.entries()
        for stored, trial in entries:
            if not stored.state.is_finished():
                trial.intermediate = dict(sorted(stored.intermediate_values.items()))
        return [trial for _, trial in entries]

    def trials(self) -> list[Trial]:
        """The trials of all processes."""
        return [trial for _, trial in self._in_study(self.entries)]

    def importances(self) -> dict[str, float]:
        """How much each parameter matters for the metric, adding up to 1: PED-ANOVA (Watanabe et al., 2023). Empty with few trials."""
        study = self._in_study(lambda: optuna.load_study(study_name=self.sweep.study, storage=self.storage))
        with quietly(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            importances = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
            return {name: float(value) for name, value in importances.items() if value == value}
        return {}


def _compatible(stored: BaseDistribution, planned: BaseDistribution) -> bool:
    if isinstance(stored, CategoricalDistribution) or isinstance(planned, CategoricalDistribution):
        return stored == planned
    return type(stored) is type(planned)
