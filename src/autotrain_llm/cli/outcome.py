"""How a command ends when it isn't simply done: refused, failed, stopped, or by a fault that nobody foresaw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines
from autotrain_llm.cli.screen import Screen
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
    """Nothing was started: all findings, and their count nearest the prompt."""
    if screen.json:
        screen.document(REFUSED, findings, plan, not_checked=[item.as_json() for item in not_checked])
        return REFUSED
    screen.write(unchecked_lines(not_checked))
    screen.write(findings_text(findings, screen.err))
    only_warnings = strict and all(finding.severity == "warning" for finding in findings)
    screen.write(count_line(findings, started=False) + (" (--strict)" if only_warnings else ""))
    return REFUSED


def fail(
    message: str, fix: str | None, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """The run started and failed: what happened, and what to change."""
    failure = Finding(message, fix, code="R101")
    if screen.json and screen.speaks:
        screen.document(FAILED, [*findings, failure], plan)
    else:
        screen.complain(findings_text([failure], screen.err))
    return FAILED


def stop(
    status: int, message: str, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """Interrupted or terminated; the last line says how to go on."""
    if screen.json:
        screen.document(status, findings, plan, message=message)
    screen.write(message)
    return status


def fault(
    unforeseen: Exception, screen: Screen, findings: Sequence[Finding] = (), plan: dict[str, Any] | None = None
) -> int:
    """An exception that nobody foresaw is one line; its traceback is there for who asks for it."""
    name, message = type(unforeseen).__name__, " ".join(str(unforeseen).split())
    finding = Finding(f"{name}: {message}" if message else name, "--verbose shows where", code="R102")
    if screen.verbose:
        import traceback

        screen.write("".join(traceback.format_exception(unforeseen)).rstrip())
    if screen.json and screen.speaks:
        screen.document(FAILED, [*findings, finding], plan)
    else:
        screen.complain(findings_text([finding], screen.err))
    return FAILED
