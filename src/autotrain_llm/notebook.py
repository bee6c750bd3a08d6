"""What Python shows of a run while it goes: `train` of the package, with its progress if asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from autotrain_llm import api
from autotrain_llm.progress import ProgressCallback

if TYPE_CHECKING:
    from autotrain_llm.run.session.run_report import RunReport


def train(watch: ProgressCallback | None = None, *, progress: bool = False, **flags: Any) -> RunReport:
    """Train. `watch` receives the progress; with `progress=True` it is shown on standard error as the command shows it: a bar in a terminal, a line
    for each log in a notebook.

    Raises `Refused` before anything is started, `RunFailed` when the run fails, `Interrupted` when a signal ends it; every complete checkpoint is
    kept.
    """
    if not progress:
        return api.train(watch, **flags)
    if watch is not None:
        raise TypeError("train takes either watch or progress=True")
    from autotrain_llm.cli.progress import progress_on

    checked = api.checked_to_train(flags)
    assert checked.plan is not None
    return api.carry_out(checked, progress_on(sys.stderr, checked.plan.sweep))
