"""Open the study of a sweep, also where its file is damaged or its database has lost it: from the intact part and `sweep/trials.json`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from autotrain_llm.context.file_lock import FileLock
from autotrain_llm.context.output_dir import SWEEP
from autotrain_llm.context.study_file import JOURNAL, read_study_file
from autotrain_llm.declare.text import plural
from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.sweep.database import Database
from autotrain_llm.run.sweep.records import read_trials
from autotrain_llm.run.sweep.study import Study

# What Optuna raises at lines that are no journal of its own, though each is JSON.
UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError)


def restored_study(
    sweep: SweepPlan,
    root: Path,
    seed: int,
    database: Database | None,
    lock: FileLock,
    *,
    pause: Callable[[float], None],
    note: Callable[[str], None],
) -> Study:
    """The study in the database or in the output folder. What had to be restored is told by `note`."""

    def open_study() -> tuple[Study, int]:
        study = Study(sweep, root, seed, database or journal(path, lock), lock, pause=pause, note=note)
        return study, study.restore(known)

    path, known = root / SWEEP / JOURNAL, read_trials(root)
    if database is not None:
        study, restored = open_study()
        if restored:
            has = f"{plural(restored, 'trial')}, which sweep/trials.json has"
            note(f"The study in {sweep.storage} lacked the results of {has}: they were added")
        return study
    with lock:
        damage = _mend(path) if known or path.exists() else None
        try:
            study, restored = open_study()
        except UNREADABLE:
            damage = "is not the file of this study"
            _keep(path)
            path.unlink()
            study, restored = open_study()
    if damage or restored:
        note(f"sweep/{JOURNAL} {damage or 'lacked results'}: {plural(len(study.trials()), 'trial')} restored")
    return study


def journal(path: Path, lock: FileLock) -> JournalStorage:
    """The study in a file that several processes append to.

    It is written under the study's lock. Optuna's own lock is a link on the disk, which a killed process leaves there and others wait for.
    """
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]


def _mend(path: Path) -> str | None:
    """Cut a damaged file to its intact lines, and keep the damaged one; what was wrong with it."""
    intact, damage = read_study_file(path)
    if damage is None:
        return None
    if path.exists():
        _keep(path)
    if path.is_dir():
        path.rmdir()
    mended = path.with_name(f".{path.name}")
    mended.write_bytes(intact)
    mended.replace(path)
    return damage


def _keep(path: Path) -> None:
    """Copy a damaged file to a name of its own."""
    index = 1
    while (kept := path.with_name(f"{path.name}.damaged-{index}")).exists():
        index += 1
    if path.is_dir():
        path.rename(kept)
        path.mkdir()
    else:
        shutil.copy2(path, kept)
