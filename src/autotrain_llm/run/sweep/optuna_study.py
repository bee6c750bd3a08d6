"""Optuna's side of a sweep, through ask and tell: the study and where it is kept, what to try next, and whose trial was lost.

The study lies in a journal file in the output folder, or in a database that several machines share. A process that works on a trial
holds a claim on it: a lock that ends with the process, or in a database a heartbeat. A trial whose process is gone is given to another.
"""

from __future__ import annotations

import contextlib
import itertools
import json
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
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.search_space import without_password
from autotrain_llm.context.file_lock import FileLock, owner_of_lock
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.sweep.trial import COMPLETE, INTERRUPTED, LOST, PRUNED, RUNNING, Trial, folder_of

JOURNAL = "study.journal"
HEARTBEAT, GRACE = 15, 60  # seconds between two signs of life in a database, and after which a process counts as gone
RETRIES = 2  # how often a trial whose process was killed is tried again: it may be what kills the process
TABLES_TRIED = 3
POLL = 1.0  # seconds between two looks at what other processes do
WARM_UP = 3  # complete trials before one can be given up
AGAIN_OF, RECORD, OWN, SURPLUS = "again_of", "record", "own", "surplus"
RUNNING_OR_OVER = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
SCALARS = (bool, int, float, str)


class Study:
    """One process's view of the study. `next` gives a trial to carry out, `tell` takes what became of it."""

    def __init__(self, sweep: SweepPlan, root: Path, seed: int, storage: BaseStorage | None, lock: FileLock) -> None:
        self.sweep, self.root, self.seed, self.lock = sweep, root, seed, lock
        self.database = storage if isinstance(storage, RDBStorage) else None
        self.spaces = {name: distribution(name, space) for name, space in sweep.space.items()}
        self.deadline = None if sweep.timeout is None else time.monotonic() + sweep.timeout
        self._asked: dict[int, tuple[optuna.Trial, Any]] = {}
        self._unclaimed: dict[int, float] = {}  # since when trials that nobody has claimed have been seen
        with lock, quietly():
            self.study = self._open(storage or journal(root / SWEEP / JOURNAL, lock))

    def _open(self, storage: BaseStorage) -> optuna.Study:
        """The study, made by whichever process comes first: it also hands in what is to be tried before anything is proposed."""
        name, direction = self.sweep.study, optuna.study.StudyDirection[self.sweep.direction.upper()]
        try:
            study = optuna.create_study(study_name=name, storage=storage, direction=direction, pruner=self._pruner())
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage, pruner=self._pruner())
            self._same_space(study)
            return study
        for values in self._handed_in():
            study.enqueue_trial(self._encoded(values), user_attrs={OWN: values == self.sweep.own})
        return study

    def _handed_in(self) -> list[dict[str, Any]]:
        """The user's own values, and for a grid every combination."""
        own = self.sweep.own
        handed = [own] if own else []
        if self.sweep.sampler == "grid":
            spaces = [self.sweep.space[name] for name in self.spaces]
            choices = [space["choices"][space["added"] :] for space in spaces]
            grid = [dict(zip(self.spaces, values, strict=True)) for values in itertools.product(*choices)]
            handed += [values for values in grid if values != own]
        return handed

    def _same_space(self, study: optuna.Study) -> None:
        """A study in a database may be somebody else's."""
        for trial in study.get_trials(deepcopy=False):
            for name, known in trial.distributions.items():
                if name not in self.spaces or not _compatible(known, self.spaces[name]):
                    message = f"the study {self.sweep.study} was started with another search space: {name} differs"
                    parameters = ("sweep_name", "sweep_params")
                    raise Refused([Finding(message, "--sweep-name <another name>", parameters, code="E408")])

    # --- what to try --------------------------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial, already claimed; waits while others work on the last ones, which may yet be lost. None when all is done."""
        while self.deadline is None or time.monotonic() < self.deadline:
            with self.lock, quietly(), self._reachable():
                self._find_lost()
                frozen = self.study.get_trials(deepcopy=False)
                counted = self._counted(frozen)
                if len(counted) < self.sweep.trials:
                    asked = self._asked_for(len(frozen))
                    if not self._is_surplus(asked):
                        trial = self._claimed(asked)
                        if trial is None:
                            continue
                        return trial
                others = any(trial.state == TrialState.RUNNING for trial in counted)
            if not others:
                return None
            time.sleep(POLL)
        return None

    def _counted(self, frozen: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials that are over or being worked on, without those that were or will be tried again."""
        again = superseded(frozen)
        counted = [trial for trial in frozen if trial.state in RUNNING_OR_OVER and trial.number not in again]
        return [trial for trial in counted if SURPLUS not in trial.user_attrs]

    def _is_surplus(self, asked: optuna.Trial) -> bool:
        """Whether other machines have asked for the last trial at the same moment, and were first."""
        if self.database is None:  # asked for one after the other
            return False
        before = [
            trial for trial in self._counted(self.study.get_trials(deepcopy=False)) if trial.number < asked.number
        ]
        if len(before) < self.sweep.trials:
            return False
        asked.set_user_attr(SURPLUS, True)
        self.study.tell(asked, state=TrialState.FAIL)
        return True

    def _asked_for(self, known: int) -> optuna.Trial:
        self.study.sampler = self._sampler(known)
        return self.study.ask(self.spaces)

    def _claimed(self, asked: optuna.Trial) -> Trial | None:
        """The trial with a claim on it; None where it took so long to claim it that it was taken for lost."""
        claim = self._claim(asked.number)
        values = {name: self._decoded(name, value) for name, value in asked.params.items()}
        values = {name: values[name] for name in self.spaces}
        own = bool(asked.user_attrs.get(OWN))
        trial = Trial(asked.number, values, own=own, folder=folder_of(asked.number), host=socket.gethostname())
        try:
            asked.set_user_attr(RECORD, trial.as_json())
        except optuna.exceptions.UpdateFinishedTrialError:
            claim.release()
            return None
        self._asked[asked.number] = (asked, claim)
        return trial

    def _sampler(self, known: int) -> optuna.samplers.BaseSampler:
        """Seeded anew for each trial by how many came before, so that a sweep that goes on proposes what it would have proposed.

        Processes on several machines must not propose the same at the same time: there the machine and process count too.
        """
        who = crc32(f"{socket.gethostname()}:{os.getpid()}".encode()) if self.database else 0
        seed = (self.seed + 1_000_003 * known + who) % 2**32
        if self.sweep.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(5, self.sweep.trials // 5))

    def _pruner(self) -> optuna.pruners.BasePruner:
        """Compares what trials measured at their first evaluation, their second, and so on."""
        name = self.sweep.pruner
        if name == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=WARM_UP)
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner()
        if name == "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        return optuna.pruners.NopPruner()

    def should_stop(self, trial: Trial, value: float) -> bool:
        """Take down an evaluation, and say whether the trial is so far behind that it should be given up."""
        asked, _ = self._asked[trial.number]
        with self._reachable():
            asked.report(value, len(trial.intermediate))
            return asked.should_prune()

    def tell(self, trial: Trial) -> None:
        """Write down what became of a trial. One that was interrupted is handed in again."""
        asked, claim = self._asked.pop(trial.number)
        states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
        state = states.get(trial.state, TrialState.FAIL)
        try:
            with self.lock, quietly(), self._reachable():
                try:
                    asked.set_user_attr(RECORD, trial.as_json())
                except optuna.exceptions.UpdateFinishedTrialError:
                    return  # it was taken for lost meanwhile, and given to another
                value = trial.metric if state == TrialState.COMPLETE else None
                self.study.tell(asked, value, state=state, skip_if_finished=True)
                if trial.state == INTERRUPTED:
                    self._hand_in_again(trial.number, asked.params, asked.user_attrs)
        finally:
            claim.release()

    # --- whose trial was lost -----------------------------------------------------------------------------------------

    def _claim(self, number: int) -> Any:
        if self.database:
            return Heartbeat(self.database, self.sweep.study, number)
        claim = FileLock(self._claim_path(number))
        claim.acquire()
        return claim

    def _claim_path(self, number: int) -> Path:
        return self.root / SWEEP / f".running-{number:03d}"

    def _find_lost(self) -> None:
        """Give trials whose process is gone to whoever asks next."""
        if self.database is not None:
            fail_stale_trials(self.study)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if self.database is not None:
            lost = self._never_claimed(running)
        else:
            lost = [trial for trial in running if owner_of_lock(self._claim_path(trial.number)) is None]
        for trial in lost:
            self._claim_path(trial.number).unlink(missing_ok=True)
            self._give_up(trial)

    def _never_claimed(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials of a database whose process was killed between asking for them and its first sign of life, so that there is none to go
        stale. By this process's clock alone: other machines' may go wrong, or be in another time zone."""
        now = time.monotonic()
        waiting = [trial for trial in running if trial.user_attrs.get(RECORD, {}).get("number") != trial.number]
        self._unclaimed = {trial.number: self._unclaimed.get(trial.number, now) for trial in waiting}
        return [trial for trial in waiting if now - self._unclaimed[trial.number] > GRACE]

    def _give_up(self, trial: FrozenTrial) -> None:
        """Let somebody else have a trial, unless another process has just seen to it."""
        try:
            self.study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return
        if trial.user_attrs.get("tries", 0) < RETRIES:
            self._hand_in_again(trial.number, trial.params, trial.user_attrs, tries=1)

    def _hand_in_again(self, number: int, params: Mapping[str, Any], attrs: Mapping[str, Any], tries: int = 0) -> None:
        kept = {OWN: bool(attrs.get(OWN)), AGAIN_OF: number, "tries": attrs.get("tries", 0) + tries}
        self.study.enqueue_trial(dict(params), user_attrs=kept)

    # --- what is known ------------------------------------------------------------------------------------------------

    def trials(self) -> list[Trial]:
        """All trials of all processes, without those that wait to be tried."""
        with self._reachable():
            frozen = self.study.get_trials(deepcopy=False)
        return [
            self._trial(trial) for trial in frozen if trial.state in RUNNING_OR_OVER and SURPLUS not in trial.user_attrs
        ]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        record = frozen.user_attrs.get(RECORD)
        if record is None or record["number"] != frozen.number:  # its process was killed before it could say more
            values = {name: self._decoded(name, value) for name, value in frozen.params.items()}
            record = Trial(frozen.number, values, folder=folder_of(frozen.number)).as_json()
        trial = Trial(**record)
        trial.intermediate = {int(step): value for step, value in trial.intermediate.items()}
        if frozen.state == TrialState.FAIL and trial.state == RUNNING:
            trial.state, trial.failure = LOST, "its process was killed"
        return trial

    def importances(self) -> dict[str, float]:
        """How much each parameter matters for the metric, adding up to 1: PED-ANOVA (Watanabe et al., 2023). Empty with few trials."""
        with quietly(), contextlib.suppress(ValueError, RuntimeError, ZeroDivisionError):
            found = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
            return {name: float(value) for name, value in found.items() if value == value}
        return {}

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except optuna.exceptions.StorageInternalError as fault:
            where = self.sweep.storage or f"{SWEEP}/{JOURNAL}"
            raise RunFailed(
                f"the study in {where} can't be reached any more ({type(fault.__cause__ or fault).__name__})",
                "--resume, once it can be reached",
            ) from None

    # --- values that a study can hold ---------------------------------------------------------------------------------

    def _encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: encoded(values[name]) for name in self.spaces}

    def _decoded(self, name: str, value: Any) -> Any:
        choices = self.sweep.space[name].get("choices", ())
        return next((choice for choice in choices if encoded(choice) == value), value)


def encoded(value: Any) -> Any:
    """A choice as a study keeps it: a list as JSON."""
    return value if value is None or isinstance(value, SCALARS) else json.dumps(value)


def distribution(name: str, space: Mapping[str, Any]) -> BaseDistribution:
    """Optuna's word for a space of the plan."""
    if "choices" in space:
        return CategoricalDistribution([encoded(choice) for choice in space["choices"]])
    low, high, is_log, step = space["low"], space["high"], space["log"], space["step"]
    if PARAMS[name].kind == "int":
        return IntDistribution(int(low), int(high), log=is_log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=is_log, step=step)


def _compatible(known: BaseDistribution, wanted: BaseDistribution) -> bool:
    if isinstance(known, CategoricalDistribution) or isinstance(wanted, CategoricalDistribution):
        return known == wanted
    return type(known) is type(wanted)


def superseded(frozen: list[FrozenTrial]) -> set[int]:
    """Numbers of the trials that another one is the repetition of."""
    numbers = {trial.user_attrs[AGAIN_OF] for trial in frozen if AGAIN_OF in trial.user_attrs}
    with quietly():
        for trial in frozen:
            numbers |= set(RetryHeartbeatStaleTrialCallback.retry_history(trial))
    return numbers


def journal(path: Path, lock: Any) -> JournalStorage:
    """The study in a file that several processes append to.

    It takes the study's lock: Optuna's own is a link on the disk, which a killed process leaves there for the others to wait at.
    """
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def connect(url: str) -> RDBStorage:
    """The study in a database. Raises Refused, with the password left out of every message, where it can't be had."""
    for attempt in range(TABLES_TRIED):
        try:
            return _storage(url)
        except Exception as fault:  # whatever the database's own package raises
            made_by_another = type(fault).__name__ in ("IntegrityError", "ProgrammingError")
            if not made_by_another or attempt == TABLES_TRIED - 1:
                raise _unusable(url, fault) from None
            time.sleep(POLL)  # two processes made the tables at the same time, and the other one was first
    raise AssertionError


def _storage(url: str) -> RDBStorage:
    with quietly():
        return RDBStorage(
            with_driver(url),
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )


def _unusable(url: str, fault: Exception) -> Refused:
    first = (str(fault.__cause__ or fault).strip() or type(fault).__name__).splitlines()[0]
    message = f"--sweep-storage {without_password(url)} can't be used: {without_secret(first, url)}"
    fix = "the address of a database that is running and may be written to"
    return Refused([Finding(message, fix, ("sweep_storage",), code="E409")])


def without_secret(text: str, url: str) -> str:
    """A message of somebody else's with no password of the address in it, however it is written there."""
    from urllib.parse import unquote

    shown = without_password(url)
    before, _, after = shown.partition("***")
    secret = url[len(before) : len(url) - len(after)] if after or shown != url else ""
    for word in (url, secret, unquote(secret)):
        text = text.replace(word, "***") if word else text
    return text


def with_driver(url: str) -> str:
    """The address with the package that is there to speak to it: SQLAlchemy's own choice differs between its versions."""
    from importlib.util import find_spec

    scheme, _, rest = url.partition("://")
    kind, _, driver = scheme.partition("+")
    kind = {"postgres": "postgresql"}.get(kind, kind)
    drivers = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "mysqldb")}.get(kind, ())
    there = [name for name in drivers if find_spec(name if name != "mysqldb" else "MySQLdb")]
    chosen = driver or (there[0] if there else "")
    return f"{kind}+{chosen}://{rest}" if chosen else f"{kind}://{rest}"


class Heartbeat:
    """Signs of life of one trial in the database, from a thread of their own."""

    def __init__(self, storage: RDBStorage, study: str, number: int) -> None:
        self.storage = storage
        self.trial_id = storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study), number)
        storage.record_heartbeat(self.trial_id)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="sweep-heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with contextlib.suppress(optuna.exceptions.StorageInternalError):  # the next one may come through
                self.storage.record_heartbeat(self.trial_id)

    def release(self) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Optuna says nothing: what it warns of here (ask and tell with heartbeats, own values outside the range) is meant."""
    optuna.logging.set_verbosity(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
