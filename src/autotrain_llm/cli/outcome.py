"""What a command shows of its check, and how it ends if it does not succeed: refused, failed, stopped, or by an unexpected exception."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines, write_plan
from autotrain_llm.cli.screen import Nowhere, Screen
from autotrain_llm.cli.terminal import fit_to
from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.config.resolved import GIVEN
from autotrain_llm.context.signals import exit_status, signal_of, stop_raises
from autotrain_llm.declare.finding import Finding, Refused, in_words
from autotrain_llm.declare.param import flag_of

if TYPE_CHECKING:
    from autotrain_llm.checks.coverage import UncheckedItem
    from autotrain_llm.checks.preflight import Checked

DONE, FAILED, REFUSED = 0, 1, 2


def show_checked(checked: Checked, screen: Screen, started: bool) -> None:
    """Print the plan and then the findings, so that these are nearest to the prompt."""
    if checked.plan is not None and screen.verbose:
        screen.write(f"Using trainer type: {checked.plan.trainer}")
    if checked.plan is not None and not screen.quiet:
        write_plan(checked.plan, screen.out, screen.verbose)
    show_findings(checked.findings, checked.not_checked, screen, started)


def show_findings(
    findings: Sequence[Finding], not_checked: Sequence[UncheckedItem], screen: Screen, started: bool
) -> None:
    """Print the findings, what was not checked, and the count of the findings."""
    screen.write(findings_text(findings, screen.err))
    if not screen.quiet:
        screen.write(unchecked_lines(not_checked, screen.err))
        screen.write(count_line(findings, started))


def show_fixes(applied: Sequence[Finding], screen: Screen) -> None:
    """Print the findings whose fixes `--fix` has applied."""
    for finding in applied:
        text = f"Fixed: {finding.message}\n       {in_words(finding.changes)}   [{finding.code}]"
        screen.write(fit_to(screen.err, text, " " * 7))


def ended(command: Callable[[], int], screen: Screen, when_stopped: str) -> int:
    """Carry out a command and return its exit status, whichever way it ends. `when_stopped` is told if a signal stops it before training."""
    try:
        with stop_raises():
            return command()
    except Refused as refused:
        return refuse(refused.findings, screen)
    except KeyboardInterrupt as stopped:
        return stop(exit_status(signal_of(stopped)), when_stopped, screen)
    except Exception as exception:
        return fault(exception, screen)


def refuse(
    findings: Sequence[Finding],
    screen: Screen,
    plan: dict[str, Any] | None = None,
    strict: bool = False,
    not_checked: Sequence[UncheckedItem] = (),
) -> int:
    """Refuse a run: print all findings, and their count last."""
    _tell_launcher(findings)
    if screen.json:
        screen.document(REFUSED, findings, plan, not_checked=not_checked)
        return REFUSED
    screen.write(findings_text(findings, screen.err))
    screen.write(unchecked_lines(not_checked, screen.err))
    only_warnings = strict and all(finding.severity == "warning" for finding in findings)
    screen.write(count_line(findings, started=False) + (" (--strict)" if only_warnings else ""))
    return REFUSED


def fail(
    message: str, fix: str | None, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """A run failed: print the cause and the fix."""
    failure = Finding(message, fix, code="R101")
    _tell_launcher([failure])
    if screen.json and screen.speaks:
        screen.document(FAILED, [*findings, failure], plan)
    else:
        screen.complain(findings_text([failure], screen.err))
    return FAILED


def stop(
    status: int, message: str, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """A run was interrupted or terminated: print how to resume."""
    if screen.json:
        screen.document(status, findings, plan, message=message)
    screen.write(fit_to(screen.err, message))
    return status


def fault(
    exception: Exception, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """An exception that no check foresaw: print it with what can be done, and keep its traceback in a file."""
    from autotrain_llm.run.failures import explain

    known = explain(exception, None)
    if known is not None:
        return fail(known.message, known.fix, screen, findings, plan)
    import traceback

    trace = "".join(traceback.format_exception(exception)).rstrip()
    name, message = type(exception).__name__, " ".join(str(exception).split())
    finding = Finding(f"{name}: {message}" if message else name, what_can_be_done(plan, _kept(trace)), code="R102")
    _tell_launcher([finding])
    if screen.verbose:
        screen.write(trace)
    if screen.json and screen.speaks:
        screen.document(FAILED, [*findings, finding], plan)
    else:
        screen.complain(findings_text([finding], screen.err))
    return FAILED


def _tell_launcher(findings: Sequence[Finding]) -> None:
    """Write why this process ends into the file in which torchrun's agent (2.13) looks for it, and prints it in place of a hint at tracebacks."""
    import json
    import os
    import time

    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        text, when = findings_text(findings, Nowhere()), str(int(time.time()))
        document = {"message": {"message": text, "extraInfo": {"timestamp": when}}}
        with suppress(OSError):
            Path(path).write_text(json.dumps(document), encoding="utf-8")


# What a run can do without: each of these is a way through other code.
DISPENSABLE = (
    "attn_implementation", "gradient_checkpointing", "use_dora", "use_rslora", "packing", "quantization", "optimizer",
    "use_distillation", "use_enhanced_eval", "rl_generation", "engine", "log", "target_modules",
)  # fmt: skip


def what_can_be_done(plan: dict[str, Any] | None, trace: str) -> str:
    """Advice after an unexpected error: go on from a checkpoint, leave out an option that may be the cause, report it."""
    from autotrain_llm.models.locate import complete_checkpoints

    steps = []
    parameters = plan["parameters"] if plan else {}
    given = [name for name in DISPENSABLE if parameters.get(name, {}).get("source") in GIVEN]
    if plan and complete_checkpoints(Path(plan["output"]["dir"]).expanduser()):
        steps.append("--resume goes on from the last complete checkpoint")
    if given:
        steps.append(f"try it without {', '.join(map(flag_of, given))}, each of which may be the cause")
    elif plan and TRAINERS[plan["trainer"]].trl_adapter and "engine" not in given and plan.get("sweep") is None:
        steps.append("--engine trl trains the same with TRL's trainer")
    return "; ".join([*steps, f"report it with the command and {trace}"])


def _kept(trace: str) -> str:
    """Where the traceback is: a file of its own, which no later command overwrites."""
    from tempfile import NamedTemporaryFile

    try:
        with NamedTemporaryFile("w", prefix="autotrain-", suffix=".txt", delete=False, encoding="utf-8") as file:
            file.write(trace + "\n")
    except (OSError, UnicodeError):
        return "what --verbose prints"
    return f"the traceback in {file.name}"
