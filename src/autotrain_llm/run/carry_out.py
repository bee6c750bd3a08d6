"""The one entrance to everything that a plan can ask for: a run, or a sweep of many."""

from __future__ import annotations

from autotrain_llm.checks.preflight import Checked
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.session.execute import RunReport, execute


def carry_out(checked: Checked, watch: ProgressCallback | None = None) -> RunReport:
    """Carry out what was checked. Raises RunFailed, Interrupted or Refused; what is complete on disk stays."""
    assert checked.plan is not None
    if checked.plan.sweep is None:
        return execute(checked, watch)
    from autotrain_llm.run.sweep.driver import sweep

    return sweep(checked, watch or ProgressCallback())
