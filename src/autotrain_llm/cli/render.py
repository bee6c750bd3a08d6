"""Render findings, plan and report for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autotrain_llm.cli.terminal import is_terminal, styled, wants_colour, width
from autotrain_llm.declare.finding import ERROR, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.text import duration, plain

if TYPE_CHECKING:
    from autotrain_llm.checks.coverage import UncheckedItem
    from autotrain_llm.planning.plan import Plan
    from autotrain_llm.run.session.run_report import RunReport

NOTHING_STARTED = "Nothing was started."
WORDS = {"error": ("Error:", "bold red"), "warning": ("Warning:", "bold yellow")}
FIX_INDENT = " " * 7
REPORT_PAGE = "report.html"


def findings_text(findings: Iterable[Finding], stream: TextIO) -> str:
    """All findings: warnings first, errors last, nearest to the prompt."""
    ordered = sorted(findings, key=lambda finding: finding.severity == ERROR)
    columns, colour = width(stream), wants_colour(stream)
    return "\n".join(line for finding in ordered for line in _lines(finding, columns, colour))


def _lines(finding: Finding, columns: int, colour: bool) -> list[str]:
    word, style = WORDS[finding.severity]
    flags = " ".join(flag_of(name) for name in finding.parameters)
    tag = f"[{' '.join(part for part in (finding.code, flags) if part)}]"
    first, *others = finding.message.split("\n")
    gap = max(columns - len(word) - 1 - len(first) - len(tag), 2)
    lines = [f"{styled(word, style, colour)} {first}{' ' * gap}{styled(tag, 'dim', colour)}"]
    lines += [FIX_INDENT + line for line in others]
    if finding.fix:
        lines.append(f"{FIX_INDENT}{styled('fix:', 'green', colour)} {finding.fix}")
    return lines


def unchecked_lines(not_checked: Iterable[UncheckedItem]) -> str:
    """A line for each item that was not checked."""
    lines = [f"Not checked: {item.what}: {item.why}" + (f" ({item.how})" if item.how else "") for item in not_checked]
    return "\n".join(lines)


def count_line(findings: Sequence[Finding], started: bool) -> str:
    """`2 errors, 2 warnings. Nothing was started.`; empty if a run starts without findings."""
    errors = sum(finding.severity == ERROR for finding in findings)
    warnings = len(findings) - errors
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    if not counts:
        return "" if started else NOTHING_STARTED
    return f"{', '.join(counts)}." if started else f"{', '.join(counts)}. {NOTHING_STARTED}"


def write_plan(plan: Plan, stream: TextIO, verbose: bool) -> None:
    """The plan as tables on a terminal, as lines elsewhere; `verbose` adds every parameter with its source."""
    sections = [(title, list(rows)) for title, rows in plan.summary()]
    if verbose:
        parameters = plan.as_json()["parameters"]
        sections.append(
            ("All parameters", [(name, cell["value"], cell["source"]) for name, cell in parameters.items()])
        )
    if is_terminal(stream):
        _plan_tables(sections, stream)
    else:
        stream.write(_plan_lines(sections))


Sections = Sequence[tuple[str, Sequence[tuple[Any, ...]]]]


def _plan_lines(sections: Sections) -> str:
    rows = [(str(name), _shown(value)) for _, section in sections for name, value, *_ in section]
    left = min(max((len(name) for name, _ in rows), default=0), 32)
    middle = min(max((len(value) for _, value in rows), default=0), 48)
    lines = []
    for title, section in sections:
        lines.append(title)
        for name, value, *why in section:
            reason = "  " + str(why[0]) if why and why[0] else ""
            lines.append(f"  {name!s:<{left}}  {_shown(value):<{middle}}{reason}".rstrip())
    return "\n".join([*lines, ""])


def _plan_tables(sections: Sections, stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, width=width(stream), highlight=False)
    rows = [row for _, section in sections for row in section]
    names = max((len(str(name)) for name, *_ in rows), default=0)
    values = min(max((len(_shown(value)) for _, value, *_ in rows), default=0), width(stream) // 2)
    for title, section in sections:
        table = Table(
            box=None, show_header=False, title=Text(title, "bold"), title_justify="left", padding=(0, 2, 0, 0)
        )
        table.add_column(style="cyan", width=names, overflow="fold")
        table.add_column(min_width=values, overflow="fold")
        table.add_column(style="dim", overflow="fold")
        for name, value, *why in section:
            table.add_row(Text(str(name)), Text(_shown(value)), Text(str(why[0]) if why and why[0] else ""))
        console.print(table)


def _shown(value: Any) -> str:
    """A value of the plan in one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    return str(value)


def write_report(report: RunReport, stream: TextIO) -> None:
    """Print where the model is, its metrics, and the command to try it."""
    rows = _report_rows(report)
    if not is_terminal(stream):
        left = max(len(name) for name, _ in rows)
        stream.write("".join(f"{name:<{left}}  {value}\n" for name, value in rows))
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    Console(file=stream, width=width(stream), highlight=False).print(
        Panel(table, title="Done", title_align="left", border_style="green", expand=False)
    )


def _report_rows(report: RunReport) -> list[tuple[str, str]]:
    rows = [("Model", str(report.output_dir)), *(sweep_rows(report.sweep) if report.sweep else [])]
    rows += [
        (name.replace("_", " "), _shown(value))
        for name, value in report.metrics.items()
        if not name.endswith("_seconds") and not (report.evaluation and name.startswith("eval_"))
    ]
    rows += _what_training_changed(report)
    rows.append(("Time", duration(report.seconds)))
    if report.plan.model.head is not None:
        rows.append(("Use", "it scores texts and does not generate"))
    if REPORT_PAGE in report.files:
        rows.append(("Report", str(report.output_dir / REPORT_PAGE)))
    return [*rows, ("Try it", report.try_it)]


def sweep_rows(sweep: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result of a sweep: trials by state, and the values of the best trial with their importances."""
    best, own = sweep["best"], sweep["own_metric"]
    states = ", ".join(f"{count} {state}" for state, count in sweep["counts"].items())
    yours = f" (yours: {_shown(own)})" if own is not None else ""
    rows = [("Trials", states), ("Best", f"trial {best['number']}, {sweep['metric']} {_shown(best['metric'])}{yours}")]
    importances = sweep["importances"]
    rows += [
        (f"  {name}", plain(value) + (f"   importance {importances[name]:.0%}" if name in importances else ""))
        for name, value in best["values"].items()
    ]
    return [*rows, ("Again", f"--config {sweep['again']}")]


def _what_training_changed(report: RunReport) -> list[tuple[str, str]]:
    """The metrics of enhanced evaluation before and after training, and the benchmark's."""
    from autotrain_llm.run.artifacts.metric_changes import compare, numbers

    if report.evaluation is None:
        return []
    changes = [row for row in compare(report.evaluation) if row.change is not None and not row.name.endswith("seconds")]
    rows = [("What training changed", "before → after")] if changes else []
    rows += [(row.name, f"{row.before:.4g} → {row.after:.4g} ({row.change:+.4g})") for row in changes]
    scored = numbers(report.evaluation.get("benchmark") or {})
    return rows + [(f"benchmark {name}", _shown(value)) for name, value in scored.items()]
