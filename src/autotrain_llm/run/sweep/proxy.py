"""A study behind Optuna's gRPC storage proxy (`optuna.storages.run_grpc_proxy_server` of Optuna 5), for machines that reach no database themselves.

The proxy has neither locks nor a clock. Both are made of what it has: trials, which it numbers one after another, of studies that hold nothing else.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from datetime import datetime

from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotrain_llm.config.search_space import proxy_address
from autotrain_llm.run.sweep.silence import quietly

LOCK, CLOCK = "autotrain-llm lock", "autotrain-llm clock"  # the studies
OWNER = "owner"  # the attribute of a ticket that tells whose it is
POLL = 0.05  # seconds between two looks at the tickets
LOST = 60  # seconds after which the process that has held the lock all the time counts as killed
SECONDS = 10  # in which the proxy has to answer


class ProxyLock:
    """A lock of tickets: trials in the state of running. The lowest number has the lock, and ends its trial when it is done.

    A process that is killed leaves its ticket. Whoever comes next ends it after LOST seconds in which no other had the lock; what is done under the lock takes
    far less.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage, self._owner = storage, uuid.uuid4().hex
        self._study: int | None = None
        self._ticket: int | None = None

    def __enter__(self) -> None:
        if self._study is None:
            self._study = _study_of(self._storage, LOCK)
        self._ticket = self._own_ticket(self._study)
        first, since = None, time.monotonic()
        try:
            while (holder := self._holder(self._study)) != self._ticket:
                if holder != first:
                    first, since = holder, time.monotonic()
                if time.monotonic() - since > LOST:
                    _end(self._storage, holder)
                time.sleep(POLL)
        except BaseException:
            self.__exit__()
            raise

    def _own_ticket(self, study: int) -> int:
        """A new ticket, or that of an attempt whose answer was lost with the connection."""
        own = [trial for trial in self._tickets(study) if trial.user_attrs.get(OWNER) == self._owner]
        if own:
            return own[0]._trial_id
        ticket = create_trial(state=TrialState.RUNNING, user_attrs={OWNER: self._owner})
        return self._storage.create_new_trial(study, ticket)

    def _tickets(self, study: int) -> list[FrozenTrial]:
        return self._storage.get_all_trials(study, deepcopy=False, states=(TrialState.RUNNING,))

    def _holder(self, study: int) -> int:
        tickets = self._tickets(study)
        if all(ticket._trial_id != self._ticket for ticket in tickets):  # this process stood still for too long
            self._ticket = self._own_ticket(study)
            tickets = self._tickets(study)
        return min(tickets, key=lambda ticket: ticket.number)._trial_id

    def __exit__(self, *details: object) -> None:
        assert self._ticket is not None
        with suppress(*faults()):  # a ticket that stays is taken up again by this process, or ended by another
            _end(self._storage, self._ticket)
        self._ticket = None


def _end(storage: BaseStorage, ticket: int) -> None:
    with suppress(UpdateFinishedTrialError):  # another process was faster
        storage.set_trial_state_values(ticket, TrialState.FAIL)


def _study_of(storage: BaseStorage, name: str) -> int:
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        pass
    try:
        return storage.create_new_study([StudyDirection.MINIMIZE], name)
    except DuplicatedStudyError:  # another process was faster
        return storage.get_study_id_from_name(name)


def seconds_of(storage: BaseStorage) -> float:
    """Seconds by the clock of the machine that the proxy's storage writes with: it dates a trial that begins."""
    trial_id = storage.create_new_trial(_study_of(storage, CLOCK))
    began = storage.get_trial(trial_id).datetime_start
    _end(storage, trial_id)
    assert began is not None
    return (began - datetime(1970, 1, 1)).total_seconds()  # Optuna's times have no zone


def reconnect(storage: GrpcStorageProxy) -> None:
    """Connect again at once: gRPC waits longer after each attempt that failed, two minutes in the end."""
    storage.close()
    storage.__setstate__(storage.__getstate__())  # as after pickling, which leaves out the connection


def connected(url: str) -> GrpcStorageProxy:
    """The storage at `grpc://host:port`. Raises ConnectionError if nothing answers."""
    host, port = proxy_address(url)
    with quietly():
        storage = GrpcStorageProxy(host=host, port=port)
        storage.wait_server_ready(timeout=SECONDS)
    return storage


def faults() -> tuple[type[Exception], ...]:
    """What the storage raises where the proxy can't be reached."""
    import grpc

    return (grpc.RpcError,)
