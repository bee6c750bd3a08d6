"""What a process that trains passes on to the one that has started it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from autotrain_llm.run.launch.worker import _report_json
from autotrain_llm.run.session.run_report import RunReport

KNOWN_TO_BOTH = {"plan", "output_dir", "sweep"}


def test_a_report_is_passed_on_with_all_that_only_the_process_knows() -> None:
    plan: Any = None
    passed_on = _report_json(RunReport(plan, Path("runs/mine"), {}, 1.0))
    assert passed_on.keys() == {field.name for field in fields(RunReport)} - KNOWN_TO_BOTH
