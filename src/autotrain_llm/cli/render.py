"""Render findings, plan and report for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autotrain_llm.cli.terminal import fit, fit_command, fit_to, is_terminal, styled, wants_colour, width
from autotrain_llm.config.registry import TRAINERS
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
INDENT, GAP = 2, 2  # of the cells of a table
REPORT_PAGE = "report.html"


def findings_text(findings: Iterable[Finding], stream: TextIO) -> str:
    """All findings: warnings first, errors last, nearest to the prompt."""
    ordered = sorted(findings, key=lambda finding: finding.severity == ERROR)
    columns, colour = width(stream), wants_colour(stream)
    folds = is_terminal(stream)
    return "\n".join(line for finding in ordered for line in _lines(finding, columns, colour, folds))


def _lines(finding: Finding, columns: int, colour: bool, folds: bool) -> list[str]:
    word, style = WORDS[finding.severity]
    flags = " ".join(flag_of(name) for name in finding.parameters)
    tag = f"[{' '.join(part for part in (finding.code, flags) if part)}]"
    first, *others = finding.message.split("\n")
    first = f"{word} {first}"
    lines = fit(first, columns, FIX_INDENT) if folds else [first]
    gap = max(columns - len(lines[-1]) - len(tag), 2)
    if not folds or len(lines[-1]) + gap + len(tag) <= columns:
        lines[-1] += " " * gap + styled(tag, "dim", colour)
    else:
        room = columns - len(FIX_INDENT)
        lines += [FIX_INDENT + styled(f"{line:>{room}}", "dim", colour) for line in fit(tag, room)]
    lines[0] = styled(word, style, colour) + lines[0].removeprefix(word)
    others = [FIX_INDENT + line for line in others]
    lines += [part for line in others for part in fit(line, columns, FIX_INDENT)] if folds else others
    if finding.fix:
        fixes = f"{FIX_INDENT}fix: {finding.fix}"
        first, *others = fit(fixes, columns, FIX_INDENT + " " * 5) if folds else [fixes]
        lines += [first.replace("fix:", styled("fix:", "green", colour), 1), *others]
    return lines


def unchecked_lines(not_checked: Sequence[UncheckedItem], stream: TextIO) -> str:
    """A line for each item that was not checked."""
    from autotrain_llm.checks.coverage import AGAIN

    # Several stages that one fault keeps from being checked are one line.
    waiting = [item.what for item in not_checked if item.how == AGAIN]
    together = len(waiting) > 1
    lines = [f"Not checked: {'; '.join(waiting)}: {AGAIN}"] if together else []
    lines += [
        f"Not checked: {item.what}: {item.why}" + (f" ({item.how})" if item.how else "")
        for item in not_checked
        if not (together and item.how == AGAIN)
    ]
    return "\n".join(fit_to(stream, line, FIX_INDENT) for line in lines)


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
        rows = [(name, parameter.value, parameter.described()) for name, parameter in plan.parameters.items()]
        sections.append(("All parameters", rows))
    write_sections(sections, stream)


Sections = Sequence[tuple[str, Sequence[tuple[Any, ...]]]]


def write_sections(sections: Sections, stream: TextIO, style: str = "bold") -> None:
    """Titled rows of a name, a value and perhaps a reason: as tables on a terminal, as lines elsewhere."""
    if is_terminal(stream):
        stream.write(_plan_tables(sections, width(stream), wants_colour(stream), style))
    else:
        stream.write(_plan_lines(sections))


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


def _plan_tables(sections: Sections, columns: int, colour: bool, style: str) -> str:
    """The sections for a terminal: what does not fit into a line goes on below it, and nothing is cut off."""
    rows = {
        title: [(str(name), _shown(value), *map(str, why)) for name, value, *why in section]
        for title, section in sections
    }
    widths = _widths([row for section in rows.values() for row in section], columns)
    lines = []
    for title, section in rows.items():
        lines.append(styled(title, style, colour))
        lines += [line for row in section for line in _row(row, *widths, columns, colour)]
    return "\n".join([*lines, ""])


def _widths(rows: Sequence[tuple[str, ...]], columns: int) -> tuple[int, int]:
    """Where the values of such rows begin, and how far from there the reasons; longer cells don't count."""
    left = INDENT + GAP + max((len(name) for name, *_ in rows if len(name) <= columns // 4), default=0)
    widest = (columns - left) * 2 // 3
    return left, GAP + max((len(value) for _, value, *_ in rows if len(value) <= widest), default=0)


def _row(row: tuple[str, ...], left: int, middle: int, columns: int, colour: bool) -> list[str]:
    """The lines of a name, a value and perhaps a reason."""
    name, value, *why = row
    heads = fit(" " * INDENT + name, columns, " " * (INDENT + GAP))
    if len(heads[-1]) + GAP > left:  # the value of a long name begins behind it if it fits there, else below it
        if len(heads[-1]) + GAP + len(value) <= columns and not any(why):
            return [
                *(styled(head, "cyan", colour) for head in heads[:-1]),
                styled(heads[-1], "cyan", colour) + " " * GAP + value,
            ]
        heads.append("")
    body = fit(value, columns - left)
    if why and why[0]:
        room = columns - left - len(body[-1]) - len(why[0])
        gap = max(middle - len(body[-1]), GAP)
        if room >= GAP:
            body[-1] += " " * (gap if gap <= room else GAP) + styled(why[0], "dim", colour)
        else:
            body += [" " * GAP + styled(line, "dim", colour) for line in fit(why[0], columns - left - GAP)]
    first = styled(heads[-1].ljust(left), "cyan", colour and bool(heads[-1])) + body[0]
    return [*(styled(head, "cyan", colour) for head in heads[:-1]), first, *(" " * left + line for line in body[1:])]


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
    columns, colour = width(stream), wants_colour(stream)
    widths = _widths(rows, columns)
    *others, (name, command) = rows
    lines = [line for row in others for line in _row(row, *widths, columns, colour)]
    lines += [" " * INDENT + styled(name, "cyan", colour), *fit_command(command, columns, " " * 2 * INDENT)]
    stream.write("\n".join([styled("Done", "bold green", colour), *lines, ""]))


def _step_of_model(report: RunReport) -> list[tuple[str, str]]:
    """The step of the finished model, if it is not the last of the planned ones."""
    step, last, planned = report.model_step, report.last_step, report.plan.steps
    if step is None or last is None or step == last == planned:
        return []
    best = f", the best by {report.plan.arguments.metric_for_best_model}" if step != last else ""
    stopped = f"; training stopped early, after step {last}" if last < planned else ""
    return [("Step", f"{step} of {planned}{best}{stopped}")]


def _report_rows(report: RunReport) -> list[tuple[str, str]]:
    rows = [("Model", str(report.output_dir)), *(sweep_rows(report.sweep) if report.sweep else [])]
    rows += [*_step_of_model(report), *_headline(report), *_what_training_changed(report)]
    speed = report.metrics.get("tokens_per_second")
    rows.append(("Time", duration(report.seconds) + (f", {speed:,.0f} tokens per second" if speed else "")))
    for finding in report.observations:
        rows.append((finding.severity.capitalize(), f"{finding.message} [{finding.code}]"))
        rows += [("  fix", finding.fix)] if finding.fix else []
    if report.plan.model.head is not None:
        rows.append(("Use", "it scores texts and does not generate"))
    if REPORT_PAGE in report.files:
        rows.append(("Report", str(report.output_dir / REPORT_PAGE)))
    return [*rows, ("Try it", report.try_it)]


def _headline(report: RunReport) -> list[tuple[str, str]]:
    """The metrics by which such a training is judged: in training, and on evaluation rows unless these are listed before and after it."""
    from autotrain_llm.run.report.curves import label

    rows = []
    for name in TRAINERS[report.plan.trainer].with_values(report.plan.values).headline:
        evaluated = None if report.evaluation else report.metrics.get(f"eval_{name}")
        values = [(report.metrics.get(name), ""), (evaluated, " on evaluation rows")]
        shown = [f"{value:.4g}{where}" for value, where in values if value is not None]
        if shown:
            rows.append((label(name).capitalize() if label(name).islower() else label(name), ", ".join(shown)))
    return rows


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
    from autotrain_llm.run.report.curves import label

    if report.evaluation is None:
        return []
    changes = [row for row in compare(report.evaluation) if row.change is not None and not row.name.endswith("seconds")]
    rows = [("On evaluation rows", "before training → after")] if changes else []
    rows += [(label(row.name), f"{row.before:.4g} → {row.after:.4g} ({row.change:+.4g})") for row in changes]
    scored = numbers(report.evaluation.get("benchmark") or {})
    return rows + [(f"benchmark {label(name)}", _shown(value)) for name, value in scored.items()]
