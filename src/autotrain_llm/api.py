"""The Python API: the flags of the command as keyword arguments; findings, plan and report as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.entry import check_arguments, read_config_file
from autotrain_llm.checks.preflight import Checked
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.progress import ProgressCallback

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.prepared.info import PreparedInfo
    from autotrain_llm.planning.plan import Plan
    from autotrain_llm.run.session.run_report import RunReport


def check(**flags: Any) -> tuple[Finding, ...]:
    """Everything that is wrong with a run: flags, machine, output folder, model files and rows.

    Takes the flags of the command by their config names (`lr=2e-5`, `data_path="train.jsonl"`, `config="run.yaml"`). Never raises for
    wrong input; an empty result means that the run would start without findings.
    """
    try:
        return _checked({**flags, "dry_run": True}).findings
    except Refused as refused:  # a saved plan that can't be read
        return refused.findings


def plan(**flags: Any) -> Plan:
    """The plan of a run. Raises `Refused`, which carries the findings, if the run would be refused."""
    checked = _checked({**flags, "dry_run": True})
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    _save_plan_if_asked(checked)
    return checked.plan


def prepare(**flags: Any) -> PreparedInfo:
    """Write rows, normalised, and with `model` or `tokenizer` their tokens, into the folder `output_dir`, as `autotrain prepare` does.

    Returns what was written, as its `dataset_info.json` has it. Raises `Refused`, and nothing is written then.
    """
    from autotrain_llm.checks.preparation import check_prepare_arguments, write_prepared

    arguments = parse_kwargs(flags)
    checked = check_prepare_arguments(arguments, read_config_file(arguments.values.get("config")))
    if checked.refused:
        raise Refused(checked.findings)
    return write_prepared(checked)[0]


def train(watch: ProgressCallback | None = None, **flags: Any) -> RunReport:
    """Train. `watch` receives the progress.

    Raises `Refused` before anything is started, `RunFailed` when the run fails, `Interrupted` (both of `autotrain_llm.run.failures`) when a
    signal ends it; every complete checkpoint is kept.
    """
    checked = _checked(flags)
    if checked.refused or checked.plan is None:
        raise Refused(checked.findings)
    _save_plan_if_asked(checked)
    return carry_out(checked, watch)


def carry_out(checked: Checked, watch: ProgressCallback | None = None) -> RunReport:
    """Carry out a checked run or sweep. Raises as `train`."""
    assert checked.plan is not None
    return _carry_out(checked.plan, checked.context, checked.findings, watch)


def carry_out_plan(plan: Plan, watch: ProgressCallback | None = None) -> RunReport:
    """Carry out a plan without its command, as run.json holds it (`Plan.from_json`); its rows are read again.

    Raises as `train`, and also `Refused` if rows or models are missing or the rows have changed.
    """
    from autotrain_llm.planning.run_inputs import context_of

    return _carry_out(plan, context_of(plan), (), watch)


def _carry_out(
    plan: Plan, context: RunContext, findings: tuple[Finding, ...], watch: ProgressCallback | None
) -> RunReport:
    if plan.sweep is None:
        from autotrain_llm.planning.run_inputs import inputs_of
        from autotrain_llm.run.session.execute import execute

        return execute(plan, inputs_of(plan, context, findings), watch)
    from autotrain_llm.run.sweep.driver import sweep

    return sweep(plan, context, findings, watch or ProgressCallback())


def _save_plan_if_asked(checked: Checked) -> None:
    """Write the plan to the file of `save_plan`, if given."""
    if checked.config.save_plan is not None:
        from autotrain_llm.checks.saved_plan import save_plan

        save_plan(checked, checked.config.save_plan)


def _checked(flags: dict[str, Any]) -> Checked:
    from_file = read_config_file(flags.get("config"))
    return check_arguments(parse_kwargs(flags, from_file.values.get("trainer")), from_file)
