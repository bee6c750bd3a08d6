"""The output folder of a sweep: all processes of the sweep share its lock, and nobody else gets it."""

from __future__ import annotations

import time
from pathlib import Path

from autotrain_llm.context.output_dir import SWEEP, earlier_sweep
from autotrain_llm.run.artifacts.output_lock import OutputFolder

STUDY_LOCK = ".writing"  # held by the process that asks for a trial, reports one or writes the sweep's records
SECONDS_TO_JOIN = 20  # while the first process moves an earlier run aside and writes run.json


class SweepFolder(OutputFolder):
    """A context manager like `OutputFolder`, which further processes of the same study may enter."""

    def __init__(self, folder: Path, *, overwrite: bool, study: str, may_join: bool) -> None:
        super().__init__(folder, overwrite=overwrite)
        self.study, self.may_join = study, may_join

    def __enter__(self) -> SweepFolder:
        super().__enter__()
        (self.path / SWEEP).mkdir(exist_ok=True)
        return self

    def let_others_join(self) -> None:
        """Share the lock: `run.json` names the sweep now, so that others can tell whether it is theirs."""
        self._lock.share()

    def _acquire(self) -> bool:
        return super()._acquire() or (self.may_join and self._join())

    def _join(self) -> bool:
        """Share the lock with the processes that hold it, if they carry out the same study."""
        deadline = time.monotonic() + SECONDS_TO_JOIN
        while time.monotonic() < deadline:
            if self._lock.acquire(shared=True, wait=False):
                if earlier_sweep(self.path) == self.study:
                    self.overwrite = False
                    return True
                self._lock.release()
            time.sleep(0.1)
        return False

    def _is_empty(self) -> bool:
        return super()._is_empty() and not any((self.path / SWEEP).glob("trial-*"))
