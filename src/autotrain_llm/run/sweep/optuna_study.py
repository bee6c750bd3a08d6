"""Optuna's side of a sweep, through ask and tell: the study and where it is stored, the next trial, and trials whose process was killed.

The study is a journal file in the output folder, or a database that several machines share. A process claims the trial that it works on:
by a lock, which ends with the process, or in a database by a heartbeat. A trial whose process is gone is enqueued again.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.search_space import without_password
from autotrain_llm.context.file_lock import FileLock, owner_of_lock
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.artifacts.study_values import distribution, encoded
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, LOST, PRUNED, RUNNING, Trial, folder_of

JOURNAL = "study.journal"
HEARTBEAT, GRACE = (
    15,
    60,
)  # seconds between heartbeats in a database, and after which a process without one counts as killed
RETRIES = 2  # of a trial whose process was killed: the trial itself may be the reason
CONNECT_ATTEMPTS = 3
POLL = 1.0  # seconds between two looks at other processes' trials
WARM_UP = 3  # complete trials before the median pruner prunes any
AGAIN_OF, RECORD, OWN, SURPLUS = "again_of", "record", "own", "surplus"  # user attributes of Optuna's trials
STARTED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Study:
    """One process's view of the study. `next` returns a trial to carry out, `tell` records its result."""

    def __init__(self, sweep: SweepPlan, root: Path, seed: int, storage: BaseStorage | None, lock: FileLock) -> None:
        self.sweep, self.root, self.seed, self.lock = sweep, root, seed, lock
        self.database = storage if isinstance(storage, RDBStorage) else None
        self.spaces = {
            name: distribution(space, is_int=PARAMS[name].kind == "int") for name, space in sweep.space.items()
        }
        self.deadline = None if sweep.timeout is None else time.monotonic() + sweep.timeout
        self._claimed: dict[int, tuple[optuna.Trial, FileLock | Heartbeat]] = {}
        self._unclaimed_since: dict[int, float] = {}
        with lock, quietly():
            self.study = self._open(storage or journal(root / SWEEP / JOURNAL, lock))

    def _open(self, storage: BaseStorage) -> optuna.Study:
        """Load the study; the first process creates it and enqueues the trials that no sampler proposes."""
        name = self.sweep.study
        try:
            direction = StudyDirection[self.sweep.direction.upper()]
            study = optuna.create_study(study_name=name, storage=storage, direction=direction, pruner=self._pruner())
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage, pruner=self._pruner())
            self._require_same_space(study)
            return study
        for values in self._enqueued_trials():
            encoded_values = {name: encoded(values[name]) for name in self.spaces}
            study.enqueue_trial(encoded_values, user_attrs={OWN: values == self.sweep.own})
        return study

    def _enqueued_trials(self) -> list[dict[str, Any]]:
        """The values of the command itself, and for a grid every combination."""
        own = self.sweep.own
        if self.sweep.sampler != "grid":
            return [own] if own else []
        spaces = [self.sweep.space[name] for name in self.spaces]
        choices = [space["choices"][space["added"] :] for space in spaces]
        grid = [dict(zip(self.spaces, values, strict=True)) for values in itertools.product(*choices)]
        return [*([own] if own else []), *(values for values in grid if values != own)]

    def _require_same_space(self, study: optuna.Study) -> None:
        """A study of this name in a database may be another sweep's."""
        for trial in study.get_trials(deepcopy=False):
            for name, stored in trial.distributions.items():
                if name not in self.spaces or not _compatible(stored, self.spaces[name]):
                    message = f"the study {self.sweep.study} was started with another search space: {name} differs"
                    parameters = ("sweep_name", "sweep_params")
                    raise Refused([Finding(message, "--sweep-name <another name>", parameters, code="E408")])

    # --- the next trial -----------------------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial, claimed; None when the sweep is done. Waits for other processes' last trials, which may yet be lost."""
        while self.deadline is None or time.monotonic() < self.deadline:
            with self.lock, quietly(), self._reachable():
                self._retry_lost_trials()
                all_trials = self.study.get_trials(deepcopy=False)
                counted = self._counted(all_trials)
                if len(counted) < self.sweep.trials:
                    self.study.sampler = self._sampler(len(all_trials))
                    optuna_trial = self.study.ask(self.spaces)
                    if not self._is_surplus(optuna_trial):
                        trial = self._claim_trial(optuna_trial)
                        if trial is None:
                            continue
                        return trial
                others_work = any(trial.state == TrialState.RUNNING for trial in counted)
            if not others_work:
                return None
            time.sleep(POLL)
        return None

    def _counted(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that count towards --sweep-n-trials: started, not retried by another one, not surplus."""
        retried = retried_trials(trials)
        return [
            trial
            for trial in trials
            if trial.state in STARTED and trial.number not in retried and SURPLUS not in trial.user_attrs
        ]

    def _is_surplus(self, optuna_trial: optuna.Trial) -> bool:
        """Whether other machines asked for the last trial at the same moment and were first."""
        if self.database is None:  # the lock lets one process ask at a time
            return False
        counted = self._counted(self.study.get_trials(deepcopy=False))
        if sum(trial.number < optuna_trial.number for trial in counted) < self.sweep.trials:
            return False
        optuna_trial.set_user_attr(SURPLUS, True)
        self.study.tell(optuna_trial, state=TrialState.FAIL)
        return True

    def _claim_trial(self, optuna_trial: optuna.Trial) -> Trial | None:
        """The trial with a claim on it; None if claiming took so long that another process counted it as lost."""
        claim = self._claim(optuna_trial.number)
        values = {name: self._decoded(name, optuna_trial.params[name]) for name in self.spaces}
        own = bool(optuna_trial.user_attrs.get(OWN))
        trial = Trial(
            optuna_trial.number, values, own=own, folder=folder_of(optuna_trial.number), host=socket.gethostname()
        )
        try:
            optuna_trial.set_user_attr(RECORD, trial.as_json())
        except optuna.exceptions.UpdateFinishedTrialError:
            claim.release()
            return None
        self._claimed[optuna_trial.number] = (optuna_trial, claim)
        return trial

    def _sampler(self, trials_before: int) -> optuna.samplers.BaseSampler:
        """Seeded for each trial by the number of trials before it, so that a resumed sweep proposes the same values.

        Several machines must not propose the same values at the same time: with a database, host and process are part of the seed.
        """
        who = crc32(f"{socket.gethostname()}:{os.getpid()}".encode()) if self.database else 0
        seed = (self.seed + 1_000_003 * trials_before + who) % 2**32
        if self.sweep.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(5, self.sweep.trials // 5))

    def _pruner(self) -> optuna.pruners.BasePruner:
        """Pruners compare trials at the same evaluation: the first, the second, and so on."""
        if self.sweep.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=WARM_UP)
        if self.sweep.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner()
        if self.sweep.pruner == "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        return optuna.pruners.NopPruner()

    def should_prune(self, trial: Trial, value: float) -> bool:
        """Report an evaluation of a trial, and ask the pruner whether to stop it early."""
        optuna_trial, _ = self._claimed[trial.number]
        with self._reachable():
            optuna_trial.report(value, len(trial.intermediate))
            return optuna_trial.should_prune()

    def tell(self, trial: Trial) -> None:
        """Record the result of a trial and release it. An interrupted trial is enqueued again."""
        optuna_trial, claim = self._claimed.pop(trial.number)
        state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}.get(trial.state, TrialState.FAIL)
        try:
            with self.lock, quietly(), self._reachable():
                try:
                    optuna_trial.set_user_attr(RECORD, trial.as_json())
                except optuna.exceptions.UpdateFinishedTrialError:
                    return  # another process counted it as lost meanwhile, and it was enqueued again
                value = trial.metric if state == TrialState.COMPLETE else None
                self.study.tell(optuna_trial, value, state=state, skip_if_finished=True)
                if trial.state == INTERRUPTED:
                    self._enqueue_again(trial.number, optuna_trial.params, optuna_trial.user_attrs)
        finally:
            claim.release()

    # --- trials whose process was killed ------------------------------------------------------------------------------

    def _claim(self, number: int) -> FileLock | Heartbeat:
        if self.database:
            return Heartbeat(self.database, self.sweep.study, number)
        claim = FileLock(self._claim_path(number))
        claim.acquire()
        return claim

    def _claim_path(self, number: int) -> Path:
        return self.root / SWEEP / f".running-{number:03d}"

    def _retry_lost_trials(self) -> None:
        """Fail the running trials whose process is gone, and enqueue them again."""
        if self.database is not None:
            fail_stale_trials(self.study)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if self.database is not None:
            lost = self._orphaned_trials(running)
        else:
            lost = [trial for trial in running if owner_of_lock(self._claim_path(trial.number)) is None]
        for trial in lost:
            self._claim_path(trial.number).unlink(missing_ok=True)
            try:
                self.study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another process has just done so
            if trial.user_attrs.get("tries", 0) < RETRIES:
                self._enqueue_again(trial.number, trial.params, trial.user_attrs, tries=1)

    def _orphaned_trials(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials of a database whose process was killed before its first heartbeat: without one, none can go stale.

        Timed by this process's clock alone, as other machines' may be wrong or in another time zone.
        """
        now = time.monotonic()
        unclaimed = [trial for trial in running if trial.user_attrs.get(RECORD, {}).get("number") != trial.number]
        self._unclaimed_since = {trial.number: self._unclaimed_since.get(trial.number, now) for trial in unclaimed}
        return [trial for trial in unclaimed if now - self._unclaimed_since[trial.number] > GRACE]

    def _enqueue_again(self, number: int, params: Mapping[str, Any], attrs: Mapping[str, Any], tries: int = 0) -> None:
        user_attrs = {OWN: bool(attrs.get(OWN)), AGAIN_OF: number, "tries": attrs.get("tries", 0) + tries}
        self.study.enqueue_trial(dict(params), user_attrs=user_attrs)

    # --- results ------------------------------------------------------------------------------------------------------

    def trials(self) -> list[Trial]:
        """The trials of all processes that were started."""
        with self._reachable():
            all_trials = self.study.get_trials(deepcopy=False)
        started = [trial for trial in all_trials if trial.state in STARTED and SURPLUS not in trial.user_attrs]
        return [self._trial(trial) for trial in started]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        record = frozen.user_attrs.get(RECORD)
        if record is None or record["number"] != frozen.number:  # its process was killed before it wrote one
            values = {name: self._decoded(name, value) for name, value in frozen.params.items()}
            record = Trial(frozen.number, values, folder=folder_of(frozen.number)).as_json()
        trial = Trial.from_json(record)
        if frozen.state == TrialState.FAIL and trial.state == RUNNING:
            trial.state, trial.failure = LOST, "its process was killed"
        return trial

    def importances(self) -> dict[str, float]:
        """How much each parameter matters for the metric, adding up to 1: PED-ANOVA (Watanabe et al., 2023). Empty with few trials."""
        with quietly(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            importances = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
            return {name: float(value) for name, value in importances.items() if value == value}
        return {}

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except optuna.exceptions.StorageInternalError as fault:
            storage = self.sweep.storage or f"{SWEEP}/{JOURNAL}"
            raise RunFailed(
                f"the study in {storage} can't be reached any more ({type(fault.__cause__ or fault).__name__})",
                "--resume, once it can be reached",
            ) from None

    def _decoded(self, name: str, value: Any) -> Any:
        choices = self.sweep.space[name].get("choices", ())
        return next((choice for choice in choices if encoded(choice) == value), value)


def _compatible(stored: BaseDistribution, planned: BaseDistribution) -> bool:
    if isinstance(stored, CategoricalDistribution) or isinstance(planned, CategoricalDistribution):
        return stored == planned
    return type(stored) is type(planned)


def retried_trials(trials: list[FrozenTrial]) -> set[int]:
    """Numbers of the trials that another trial repeats."""
    numbers = {trial.user_attrs[AGAIN_OF] for trial in trials if AGAIN_OF in trial.user_attrs}
    with quietly():
        for trial in trials:
            numbers |= set(RetryHeartbeatStaleTrialCallback.retry_history(trial))
    return numbers


def journal(path: Path, lock: Any) -> JournalStorage:
    """The study in a file that several processes append to.

    It is written under the study's lock. Optuna's own lock is a link on the disk, which a killed process leaves there and others wait for.
    """
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def connect(url: str) -> RDBStorage:
    """The study in a database. Raises Refused if it can't be used; no message has the password in it."""
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            with quietly():
                return RDBStorage(
                    with_driver(url),
                    engine_kwargs={"pool_pre_ping": True},
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
                )
        except Exception as fault:  # whatever the database's driver raises
            # Two processes created the tables at the same time, and the other one was first.
            created_by_another = type(fault).__name__ in ("IntegrityError", "ProgrammingError")
            if not created_by_another or attempt == CONNECT_ATTEMPTS - 1:
                reason = (str(fault.__cause__ or fault).strip() or type(fault).__name__).splitlines()[0]
                message = f"--sweep-storage {without_password(url)} can't be used: {without_secret(reason, url)}"
                fix = "the address of a database that is running and may be written to"
                raise Refused([Finding(message, fix, ("sweep_storage",), code="E409")]) from None
            time.sleep(POLL)
    raise AssertionError


def without_secret(text: str, url: str) -> str:
    """A driver's message without the password of the address, in whichever spelling."""
    from urllib.parse import unquote

    shown = without_password(url)
    before, _, after = shown.partition("***")
    secret = url[len(before) : len(url) - len(after)] if after or shown != url else ""
    for word in (url, secret, unquote(secret)):
        text = text.replace(word, "***") if word else text
    return text


def with_driver(url: str) -> str:
    """The address with a driver that is installed: SQLAlchemy's default driver differs between its versions."""
    from importlib.util import find_spec

    scheme, _, rest = url.partition("://")
    kind, _, driver = scheme.partition("+")
    kind = {"postgres": "postgresql"}.get(kind, kind)
    drivers = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "mysqldb")}.get(kind, ())
    installed = [name for name in drivers if find_spec(name if name != "mysqldb" else "MySQLdb")]
    chosen = driver or (installed[0] if installed else "")
    return f"{kind}+{chosen}://{rest}" if chosen else f"{kind}://{rest}"


class Heartbeat:
    """The claim on a trial in a database, which has no lock that ends with a process: a thread updates a time stamp."""

    def __init__(self, storage: RDBStorage, study: str, number: int) -> None:
        self.storage = storage
        self.trial_id = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study), number)
        storage.record_heartbeat(self.trial_id)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sweep-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT):
            with contextlib.suppress(optuna.exceptions.StorageInternalError):  # the next one may come through
                self.storage.record_heartbeat(self.trial_id)

    def release(self) -> None:
        self._released.set()
        self._thread.join()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence Optuna: what it warns of here (ask and tell with heartbeats, own values outside the range) is intended."""
    optuna.logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
