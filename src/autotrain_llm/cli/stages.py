"""`autotrain llm --config FILE` where the file has stages: show, check or train all of them."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.stages import CheckedPipeline, StageCheck, check_stages
from autotrain_llm.cli.outcome import DONE, FAILED, REFUSED, refuse, show_findings, show_fixes
from autotrain_llm.cli.preparing import Preparing
from autotrain_llm.cli.render import findings_text, write_sections
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to, styled, wants_colour
from autotrain_llm.config.arguments import ParsedArguments
from autotrain_llm.config.resolved import resolve_layers
from autotrain_llm.config.stages import Pipeline
from autotrain_llm.context.signals import exit_status
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.text import duration, plural
from autotrain_llm.progress import PipelineProgress

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan
    from autotrain_llm.run.pipeline.results import PipelineReport, StageResult

REPORT_PAGE = "report.html"


def answer(pipeline: Pipeline, arguments: ParsedArguments, screen: Screen) -> int:
    """Carry out the command and return the exit status."""
    if arguments.values.get("fix"):
        return _print_fixed(pipeline, arguments, screen)
    with Preparing(screen) as preparing:
        checked = check_stages(pipeline, arguments, preparing.progress)
    if checked.refused:
        return _refuse(checked, screen)
    if arguments.values.get("save_plan") is not None:
        from autotrain_llm.checks.saved_stages import save_stages

        save_stages(checked, arguments, arguments.values["save_plan"])
    if arguments.values.get("dry_run"):
        return _show(checked, screen)
    return _train(checked, screen)


def _print_fixed(pipeline: Pipeline, arguments: ParsedArguments, screen: Screen) -> int:
    """`--fix`: the corrected config, the fixes that were applied, and the findings that remain."""
    from autotrain_llm.checks.fix_stages import fix_stages

    written = arguments.values.pop("write_config", None)
    fixed = fix_stages(pipeline, arguments)
    if written is not None:
        fixed.write(written)
    checked = fixed.checked
    status = REFUSED if checked.refused else DONE
    if screen.json:
        _write_document(status, checked, screen, fixed=fixed.as_json())
        return status
    show_fixes(fixed.applied, screen)
    screen.answer(f"autotrain llm --config {written}" if written is not None else fixed.text().rstrip())
    show_findings(checked.findings, checked.not_checked, screen, started=False)
    return status


def _write_document(
    status: int,
    checked: CheckedPipeline,
    screen: Screen,
    report: PipelineReport | None = None,
    ended: Sequence[Finding] = (),
    **more: Any,
) -> None:
    """The JSON document of a command with stages; `ended` are findings of stages that did not end well."""
    stages = [_stage_json(check) for check in checked.stages]
    findings = [*checked.findings, *ended]
    document = None if report is None else report.as_json()
    screen.document(status, findings, None, document, checked.not_checked, stages=stages, **more)


def _stage_json(check: StageCheck) -> dict[str, Any]:
    plan = _plan_of(check)
    return {
        "name": check.stage.name,
        "action": check.action,
        "why": check.why,
        "uses": sorted({reference.name for reference in check.stage.uses}),
        "output_dir": str(check.stage.folder),
        "findings": [finding.as_json() for finding in check.findings],
        "not_checked": [item.as_json() for item in check.not_checked],
        "plan": None if plan is None else plan.as_json(),
    }


def _plan_of(check: StageCheck) -> Plan | None:
    return check.checked.plan if check.checked is not None else None


def _refuse(checked: CheckedPipeline, screen: Screen) -> int:
    if screen.json:
        _write_document(REFUSED, checked, screen)
        return REFUSED
    return refuse(checked.findings, screen, None, checked.strict, checked.not_checked)


def _show(checked: CheckedPipeline, screen: Screen) -> int:
    """`--dry-run`: a table of the stages, the plan of each, and the findings."""
    if screen.json:
        _write_document(DONE, checked, screen)
        return DONE
    _write_stages(checked, screen)
    if not screen.quiet:
        for check in checked.stages:
            plan = _plan_of(check)
            if plan is not None:
                title = f"Stage {check.stage.name}"
                screen.answer("\n" + styled(title, "bold", wants_colour(screen.out)))
                write_sections(plan.summary(), screen.out)
    show_findings(checked.findings, checked.not_checked, screen, started=False)
    return DONE


def _write_stages(checked: CheckedPipeline, screen: Screen) -> None:
    if screen.quiet:
        return
    rows = [(check.stage.name, _in_short(check), f"{check.action}: {check.why}") for check in checked.stages]
    write_sections([("Stages", rows)], screen.out)


def _in_short(check: StageCheck) -> str:
    plan = _plan_of(check)
    if plan is None:
        return resolve_layers(check.layers).trainer
    sources = dict.fromkeys(reference.name for reference in check.stage.uses)
    start = ", ".join(sources) or plan.model.name
    return f"{plan.trainer} from {start}, {plural(plan.steps, 'step')}, {plural(plan.data.rows, 'row')}"


# --- training


class Headings(PipelineProgress):
    """A heading before each stage, and a line after it."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def note(self, text: str) -> None:
        self.screen.write(text)

    def stage_begins(self, name: str, number: int, total: int, action: str) -> None:
        heading = f"Stage {number} of {total}: {name}" + (", resumed" if action == "resume" else "")
        self.screen.write(styled(heading, "bold", wants_colour(self.screen.err)))

    def stage_ends(self, result: StageResult) -> None:
        if result.status == "ok":
            self.screen.write(fit_to(self.screen.err, f"{result.name}: {_outcome(result)}", "  "))


def _train(checked: CheckedPipeline, screen: Screen) -> int:
    from autotrain_llm.run.pipeline.driver import train_pipeline

    if not screen.json:
        _write_stages(checked, screen)
        show_findings(checked.findings, checked.not_checked, screen, started=True)
    watch = PipelineProgress() if screen.quiet else Headings(screen)
    report = train_pipeline(checked, watch, quiet=screen.quiet, verbose=screen.verbose)
    status = _status(report)
    ended = [_as_finding(finding, stage) for stage in report.stages for finding in _end_of(stage)]
    message = _message(report)
    if screen.json:
        _write_document(status, checked, screen, report, ended, **({"message": message} if message else {}))
        return status
    _write_report(report, screen)
    screen.write(findings_text(ended, screen.err))
    if message:
        screen.write(fit_to(screen.err, message))
    return status


def _status(report: PipelineReport) -> int:
    if report.status == "ok":
        return DONE
    if report.status == "interrupted":
        return exit_status(report.signal or signal.SIGINT)
    return FAILED


def _end_of(stage: StageResult) -> Sequence[dict[str, Any]]:
    """Why a stage failed or was refused."""
    if stage.findings:
        return stage.findings
    if stage.status != "failed":
        return ()
    return ({"message": stage.message or "it failed", "fix": stage.fix, "code": "R101", "severity": "error"},)


def _as_finding(document: dict[str, Any], stage: StageResult) -> Finding:
    names = ("fix", "severity", "file", "row", "line", "code")
    details = {name: document[name] for name in names if document.get(name) is not None}
    return Finding(
        f"stage {stage.name}: {document['message']}", parameters=tuple(document.get("parameters", ())), **details
    )


def _message(report: PipelineReport) -> str:
    """What to do after a command that ended early."""
    ended = report.ended_early
    if ended is None:
        return ""
    what = f"Stage {ended.name}: {ended.message} " if ended.status == "interrupted" and ended.message else ""
    return f"{what}The same command goes on from stage {ended.name}."


def _outcome(result: StageResult) -> str:
    """A stage in one line: steps, time and its main metric."""
    from autotrain_llm.run.report.curves import label

    summary = result.summary
    parts = [] if summary.steps is None else [plural(summary.steps, "step")]
    if summary.seconds:
        parts.append(duration(summary.seconds))
    if summary.metric is not None:
        before = "" if summary.metric.before is None else f"{summary.metric.before:.4g} → "
        parts.append(f"{label(summary.metric.name)} {before}{summary.metric.after:.4g}")
    return ", ".join(parts)


def _write_report(report: PipelineReport, screen: Screen) -> None:
    rows = [
        (
            stage.name,
            _outcome(stage) if stage.status in ("ok", "kept", "left out") else stage.status,
            stage.status if stage.status in ("kept", "left out") else "",
        )
        for stage in report.stages
    ]
    rows.append(("Models", str(report.output_dir / "<stage>"), ""))
    rows.append(("Time", duration(sum(stage.summary.seconds or 0.0 for stage in report.stages)), ""))
    if (Path(report.output_dir) / REPORT_PAGE).exists():
        rows.append(("Report", str(report.output_dir / REPORT_PAGE), ""))
    title, style = ("Done", "bold green") if report.status == "ok" else ("Not finished", "bold yellow")
    write_sections([(title, rows)], screen.out, style)
