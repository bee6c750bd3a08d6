"""The command from Python: the same flags as keyword arguments, the same findings, plan and report as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotrain_llm.config import resolve
from autotrain_llm.config_file import read_config
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.preflight import Checked, preflight
from autotrain_llm.said import Said, take_all
from autotrain_llm.watch import Watch

if TYPE_CHECKING:
    from autotrain_llm.planning import Plan
    from autotrain_llm.run.execute import RunReport


def check(**flags: Any) -> tuple[Finding, ...]:
    """Everything that is wrong with a run: flags, machine, output folder, model files and rows.

    Takes the command's flags by their config names (`lr=2e-5`, `data_path="train.jsonl"`, `config="run.yaml"`). Never raises for what a
    user can get wrong; an empty result means that the run would start without a word.
    """
    return _checked({**flags, "dry_run": True}).findings


def plan(**flags: Any) -> Plan:
    """The plan of a run. Raises `Refused`, which carries the findings, where the run would be refused."""
    checked = _checked({**flags, "dry_run": True})
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    return checked.plan


def train(watch: Watch | None = None, **flags: Any) -> RunReport:
    """Train. `watch` hears of progress.

    Raises `Refused` before anything is started, `RunFailed` when the run fails, `Interrupted` (both of `autotrain_llm.run.execute`) when a
    signal ends it; every complete checkpoint is kept.
    """
    checked = _checked(flags)
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    from autotrain_llm.run.execute import execute

    return execute(checked, watch)


def _checked(flags: dict[str, Any]) -> Checked:
    said = take_all(flags)
    path = said.values.get("config")
    from_file = Said()
    if path is not None:
        try:
            from_file = read_config(path)
        except Refused as refused:
            from_file = Said(findings=list(refused.findings))
    return preflight(resolve(said.values, from_file.values, path), [*said.findings, *from_file.findings])
