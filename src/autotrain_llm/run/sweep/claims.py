"""The claim of a process on the trial that it works on.

It is a lock on a file of the folder, which ends with the process. Other machines can't see that: in a database it is also a time stamp that a thread renews.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from autotrain_llm.context.file_lock import FileLock, owner_of_lock
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.run.sweep.database import Database

CLAIM = "claim"  # the attribute of Optuna's trials
HEARTBEAT = 15  # seconds between time stamps in a database
GRACE = 60  # seconds after the last one until its process counts as killed
ALIVE, KILLED, FREE = (
    "alive",
    "killed",
    "free",
)  # the process that claimed a trial; free if none has, or it was given back


class Claim:
    """Claims a trial until it is released."""

    def __init__(self, path: Path, database: Database | None, trial_id: int) -> None:
        self.database, self.trial_id, self.token = database, trial_id, uuid.uuid4().hex
        self._lock = FileLock(path)
        self._lock.acquire()
        path.write_text(self.token)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="sweep-heartbeat", daemon=True)

    def show(self) -> None:
        """Let other machines know; again where a database could not be reached before."""
        if self.database is not None:
            self._stamp(self.database)
            if not self._thread.is_alive():
                self._thread.start()

    def _stamp(self, database: Database) -> None:
        database.storage.set_trial_user_attr(self.trial_id, CLAIM, {"token": self.token, "time": database.now()})

    def _renew(self) -> None:
        while self.database is not None and not self._ended.wait(HEARTBEAT):
            # The next one may come through. What the database has lost is reported by who carries out the trial.
            with contextlib.suppress(*self.database.faults, KeyError):
                self._stamp(self.database)

    def stop(self) -> None:
        """Write no more time stamps: the trial's last records follow."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def release(self) -> None:
        self.stop()
        self._lock.release()


def claim_path(root: Path, number: int) -> Path:
    return root / SWEEP / f".running-{number:03d}"


def claimant(path: Path, trial: FrozenTrial, now: Callable[[], float] | None) -> str:
    """What became of the process that claimed a trial: ALIVE, KILLED or FREE. `now` is the time of the database that the study is in."""
    if owner_of_lock(path) is not None:
        return ALIVE
    was_here = path.exists()  # a killed process leaves the file
    if now is None:
        return KILLED if was_here else FREE
    stamp: dict[str, Any] | None = trial.user_attrs.get(CLAIM)
    if not stamp:
        return FREE
    is_of_this_folder = was_here and path.read_text() == stamp["token"]
    return KILLED if is_of_this_folder or now() - stamp["time"] > GRACE else ALIVE
