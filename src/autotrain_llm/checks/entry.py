"""From what was said to what was checked: the one way in for the command line, a config file, Python and a saved plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.file import read_config
from autotrain_llm.config.resolved import resolve
from autotrain_llm.declare.finding import Refused

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.data.dataset import Progress


def what_the_file_says(path: str | None) -> ParsedArguments:
    """A config file; that it can't be read is a finding beside the others."""
    if path is None:
        return ParsedArguments()
    try:
        return read_config(path)
    except Refused as refused:
        return ParsedArguments(findings=list(refused.findings))


def check_said(said: ParsedArguments, from_file: ParsedArguments, progress: Progress | None = None) -> Checked:
    """Check what was said. Raises Refused where `--plan` names no plan that can be read. `progress` hears how far rows are."""
    from autotrain_llm.checks.preflight import preflight

    findings = [*said.findings, *from_file.findings]
    if said.values.get("plan") is not None:
        from autotrain_llm.checks.saved_plan import check_plan

        return check_plan(said.values, from_file.values, findings, progress)
    return preflight(resolve(said.values, from_file.values, said.values.get("config")), findings, progress=progress)
