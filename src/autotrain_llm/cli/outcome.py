"""How a command ends if it does not succeed: refused, failed, stopped, or by an unexpected exception."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to
from autotrain_llm.declare.finding import Finding

if TYPE_CHECKING:
    from autotrain_llm.checks.coverage import UncheckedItem

FAILED, REFUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def refuse(
    findings: Sequence[Finding],
    screen: Screen,
    plan: dict[str, Any] | None = None,
    strict: bool = False,
    not_checked: Sequence[UncheckedItem] = (),
) -> int:
    """Refuse a run: print all findings, and their count last."""
    if screen.json:
        screen.document(REFUSED, findings, plan, not_checked=[item.as_json() for item in not_checked])
        return REFUSED
    screen.write(unchecked_lines(not_checked, screen.err))
    screen.write(findings_text(findings, screen.err))
    only_warnings = strict and all(finding.severity == "warning" for finding in findings)
    screen.write(count_line(findings, started=False) + (" (--strict)" if only_warnings else ""))
    return REFUSED


def fail(
    message: str, fix: str | None, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """A run failed: print the cause and the fix."""
    failure = Finding(message, fix, code="R101")
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
    """An unexpected exception: print it in one line, with its traceback only for `--verbose`."""
    name, message = type(exception).__name__, " ".join(str(exception).split())
    finding = Finding(f"{name}: {message}" if message else name, "--verbose shows the traceback", code="R102")
    if screen.verbose:
        import traceback

        screen.write("".join(traceback.format_exception(exception)).rstrip())
    if screen.json and screen.speaks:
        screen.document(FAILED, [*findings, finding], plan)
    else:
        screen.complain(findings_text([finding], screen.err))
    return FAILED
