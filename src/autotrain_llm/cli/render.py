"""Render findings, plan and report for the terminal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from autotrain_llm.cli.terminal import fit, fit_command, fit_to, is_terminal, styled, wants_colour, width
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
SHORT_SOURCES = {"command line": "given", "config file": "", "trainer default": "default"}


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
    """A line for each item that was not checked and matters for whether the run does what was meant."""
    from autotrain_llm.checks.coverage import AGAIN

    not_checked = [item for item in not_checked if item.matters]
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
    left = min(max((len(name) for name, _ in rows if not name.startswith(" ")), default=0), 32)
    middle = min(max((len(value) for _, value in rows), default=0), 48)
    lines = []
    for title, section in sections:
        lines.append(title)
        for name, value, *why in section:
            reason = "  " + str(why[0]) if why and why[0] else ""
            lines.append(f"  {name!s:<{left}}  {_shown(value):<{middle}}{reason}".rstrip())
    return "\n".join([*lines, ""])


def _plan_tables(sections: Sections, columns: int, colour: bool, style: str) -> str:
    """The sections for a terminal: names, and values with their reason behind them. What does not fit into a line goes on below it, and nothing is
    cut off. Rows whose name is indented are a table of their own, below the row that they belong to."""
    rows = {
        title: [(str(name), _shown(value), *map(str, why)) for name, value, *why in section]
        for title, section in sections
    }
    left = _left([row for section in rows.values() for row in section], columns)
    lines = []
    for title, section in rows.items():
        lines.append(styled(title, style, colour))
        for is_inner, group in groupby(section, key=lambda row: row[0].startswith(" ")):
            if is_inner:
                lines += _inner_table(list(group), left, columns, colour)
                continue
            for row in group:
                lines += _row(row, left, columns, colour)
    return "\n".join([*lines, ""])


def _left(rows: Sequence[tuple[str, ...]], columns: int) -> int:
    """Where the values of such rows begin: behind the longest name that is no longer than a quarter of a line."""
    names = [name for name, *_ in rows if not name.startswith(" ") and len(name) <= columns // 4]
    return INDENT + GAP + max(map(len, names), default=0)


def _row(row: tuple[str, ...], left: int, columns: int, colour: bool) -> list[str]:
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
    body = _value(value, why[0] if why else "", columns - left, colour)
    first = styled(heads[-1].ljust(left), "cyan", colour and bool(heads[-1])) + body[0]
    return [*(styled(head, "cyan", colour) for head in heads[:-1]), first, *(" " * left + line for line in body[1:])]


def _value(value: str, why: str, columns: int, colour: bool) -> list[str]:
    """The lines of a value and of its reason, which begins behind it."""
    body, reason = fit(value, columns), short_source(why)
    if not reason:
        return body
    filled = len(body[-1]) + GAP
    if filled + len(reason.split(" ")[0]) > columns:
        return body + [styled(line, "dim", colour) for line in fit(reason, columns)]
    first, *others = fit("x" * filled + reason, columns)  # what is there already stands for a part of the first word
    body[-1] += " " * GAP + styled(first[filled:], "dim", colour)
    return body + [styled(line, "dim", colour) for line in others]


def short_source(why: str) -> str:
    """Where a value comes from, in a word where there is one: the name of a file in place of `config file NAME`."""
    for long, short in SHORT_SOURCES.items():
        if why == long or why.startswith((f"{long} ", f"{long};")):
            return f"{short}{why.removeprefix(long)}".strip()
    return why


def _inner_table(rows: Sequence[tuple[str, ...]], left: int, columns: int, colour: bool) -> list[str]:
    """Rows that belong to the one above them, in two columns of their own."""
    shown = [(name.strip(), _with_reason(value, *why)) for name, value, *why in rows]
    room = columns - left
    narrow = max(len(value) for _, value in shown)
    widest = max(room // 2, room - narrow - GAP)
    names = min(max(len(name) for name, _ in shown), widest)
    lines = []
    for name, value in shown:
        cells = zip_longest(fit(name, names), fit(value, room - names - GAP), fillvalue="")
        lines += [
            f"{' ' * left}{styled(head.ljust(names), 'cyan', colour)}{' ' * GAP}{body}".rstrip() for head, body in cells
        ]
    return lines


def _with_reason(value: str, why: str = "") -> str:
    return f"{value}{' ' * GAP}{short_source(why)}" if why else value


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
    """Print where the model is, the numbers by which it is judged, and what can be done with it."""
    rows, commands = _report_rows(report), next_steps(report)
    if not is_terminal(stream):
        left = max(len(name) for name, _ in (*rows, *commands))
        stream.write("".join(f"{name:<{left}}  {value}\n" for name, value in (*rows, *commands)))
        return
    columns, colour = width(stream), wants_colour(stream)
    lines = [styled("Done", "bold green", colour)]
    left = _left((*rows, *commands), columns)
    lines += [line for row in rows for line in _row(row, left, columns, colour)]
    for name, command in commands:
        fitted = fit_command(command, columns, " " * left)
        head = styled(f"{' ' * INDENT}{name}".ljust(left), "cyan", colour)
        if max(map(len, fitted)) <= columns:
            lines += [head + fitted[0].lstrip(), *fitted[1:]]
        else:
            lines += [head.rstrip(), *fit_command(command, columns, " " * 2 * INDENT)]
    stream.write("\n".join([*lines, ""]))


def next_steps(report: RunReport) -> list[tuple[str, str]]:
    """What can be done with a finished model, each with its command."""
    from autotrain_llm.planning.trackers import command_to_look

    plan, folder = report.plan, shlex.quote(str(report.output_dir))
    program = report.try_it.partition(" llm ")[0] or "autotrain"
    looks = (command_to_look(tracker, report.output_dir, os.environ) for tracker in plan.schedule.trackers)
    steps = [("Curves", command) for command in looks if command]
    if plan.model.head is None:
        steps.append(("Chat", f"{program} chat {folder}"))
        form = _form_to_export(plan)
        steps += [("Export", f"{program} export {folder} --to {form}")] if form else []
    return [*steps, *([("Try it", report.try_it)] if report.try_it else [])]


def _form_to_export(plan: Plan) -> str | None:
    """The form of a finished model that other programs are most likely to want; None where it has one that they read."""
    from autotrain_llm.models.gguf import ARCHITECTURES

    if plan.adapter is not None and not plan.adapter.merge:
        return "merged"
    return "gguf" if plan.model.model_type in ARCHITECTURES else None


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
    rows += [*_step_of_model(report), *((one.title, one.in_words()) for one in report.headlines()), *_benchmark(report)]
    speed = report.metrics.get("tokens_per_second")
    rows.append(("Time", duration(report.seconds) + (f", {speed:,.0f} tokens/s at the end" if speed else "")))
    if report.rounded_away is not None:
        rows.append(
            (
                "Rounding",
                f"{report.plan.model.saved_dtype} keeps {1 - report.rounded_away:.0%} of what training changed",
            )
        )
    for finding in report.observations:
        rows.append((finding.severity.capitalize(), f"{finding.message} [{finding.code}]"))
        rows += [("fix", finding.fix)] if finding.fix else []
    if report.plan.model.head is not None:
        rows.append(("Use", "it scores texts and does not generate"))
    if REPORT_PAGE in report.files:
        rows.append(("Report", str(report.output_dir / REPORT_PAGE)))
    return rows


def _benchmark(report: RunReport) -> list[tuple[str, str]]:
    """The numbers of a benchmark."""
    from autotrain_llm.run.artifacts.metric_changes import numbers
    from autotrain_llm.run.report.curves import label

    scored = numbers((report.evaluation or {}).get("benchmark") or {})
    return [(f"Benchmark {label(name)}", _shown(value)) for name, value in scored.items()]


def sweep_rows(sweep: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result of a sweep: trials by state, and the values of the best trial, with importances after many trials."""
    from autotrain_llm.run.artifacts.importances import credible_importances

    best, own = sweep["best"], sweep["own_metric"]
    states = ", ".join(f"{count} {state}" for state, count in sweep["counts"].items())
    yours = f" (yours: {_shown(own)})" if own is not None else ""
    rows = [("Trials", states), ("Best", f"trial {best['number']}, {sweep['metric']} {_shown(best['metric'])}{yours}")]
    importances = credible_importances(sweep["importances"], sweep["counts"].get("complete", 0))
    rows += [
        (name, plain(value) + (f"  importance about {importances[name]:.0%}" if name in importances else ""))
        for name, value in best["values"].items()
    ]
    return [*rows, ("Again", f"--config {sweep['again']}")]
