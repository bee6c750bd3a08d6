"""`--fix`: print the applied fixes, the corrected command and the remaining findings."""

from __future__ import annotations

from autotrain_llm.cli.outcome import DONE, REFUSED, show_fixes
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import command_to
from autotrain_llm.config.arguments import ParsedArguments


def print_fixed(arguments: ParsedArguments, from_file: ParsedArguments, screen: Screen) -> int:
    """Apply the fixes, print them, and return the exit status that the corrected command would have. Raises Refused."""
    from autotrain_llm.checks.autofix import fix
    from autotrain_llm.cli.render import count_line, findings_text, unchecked_lines

    written = arguments.values.pop("write_config", None)
    fixed = fix(arguments, from_file)
    if written is not None:
        fixed.write_config(written)
    checked = fixed.checked
    status = REFUSED if checked.refused else DONE
    if screen.json:
        plan = None if checked.plan is None else checked.plan.as_json()
        fixes = fixed.as_json(written)
        screen.document(status, checked.findings, plan, not_checked=checked.not_checked, fixed=fixes)
        return status
    show_fixes(fixed.applied, screen)
    screen.answer(command_to(screen.out, fixed.command(written)))
    screen.write(findings_text(checked.findings, screen.err))
    screen.write(unchecked_lines(checked.not_checked, screen.err))
    screen.write(count_line(checked.findings, started=False))
    return status
