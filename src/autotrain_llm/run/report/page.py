"""Put the page together: the contents of each section, and the template that renders them and escapes every text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.context.output_dir import KILLED
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.text import duration
from autotrain_llm.planning.make import SECRET
from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.artifacts.metric_changes import compare, numbers
from autotrain_llm.run.report import formatting
from autotrain_llm.run.report.curves import SPEED, Panel, label, panels
from autotrain_llm.run.report.read import Rows, RunFiles, mapping
from autotrain_llm.run.report.trials import Sweep, sweep_of

DEFAULTS = ("default", "trainer default")
MAX_TILES = 12
STATES = {
    "ok": ("Finished", "good"),
    "failed": ("Failed", "bad"),
    "interrupted": ("Interrupted", "fair"),
    "running": ("Not finished", "fair"),
    KILLED: ("Killed", "bad"),
}
Plot = tuple[str, str, Markup]  # title, unit, SVG
Row = tuple[Any, ...]
NOT_SCORES = ("step", "phase", "row", "index")


def page(files: RunFiles) -> str:
    """The whole page for what a run left in its folder."""
    from autotrain_llm.run.report.plots import drawing

    sweep = sweep_of(files)
    quality, speed = panels(files.log, files.evaluation)
    plots: list[list[Plot]] = [[], [], []]
    try:
        with drawing():
            plots = [_panel_plots(quality, files.notes), _panel_plots(speed, files.notes), _study_plots(files, sweep)]
    except ImportError:
        if quality or speed:
            files.notes.append("There are no plots: matplotlib is not installed (pip install matplotlib).")
    style = Markup(resource("page.css"))  # the package's own file
    return template("page.html.jinja").render(
        _contents(files), sweep=sweep, quality=plots[0], speed=plots[1], study=plots[2], style=style
    )


@cache
def template(name: str) -> jinja2.Template:
    """A page's template, with the filters of all pages; every text is escaped."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "short": formatting.short,
        "change": formatting.change,
        "label": label,
        "flag": flag_of,
        "preview": formatting.preview,
        "truncated": formatting.truncated,
        "is_wide": _is_wide,
    }
    return environment.from_string(resource(name))


def _is_wide(plot: str) -> bool:
    """Whether a plot is so much wider than high that it gets a line of the page to itself."""
    _, _, width, height = (float(part) for part in plot.split('viewBox="')[1].split('"')[0].split())
    return width > 2.3 * height


def resource(name: str) -> str:
    """A file of this folder as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _contents(files: RunFiles) -> dict[str, Any]:
    """Everything that the template shows but the sweep and the plots."""
    run = files.run
    plan = mapping(run.get("plan"))
    outcome = mapping(run.get("outcome"))
    state, mood = STATES.get(str(run.get("status")), (str(run.get("status", "Unknown")), "fair"))
    return {
        "name": files.folder.resolve().name,
        "state": state,
        "mood": mood,
        "started": str(run.get("started", "")).replace("T", " ")[:19],
        "summary": _summary(plan, outcome),
        "failure": outcome.get("failure") or outcome.get("message"),
        "fix": outcome.get("fix"),
        "tiles": _tiles(run, outcome),
        "findings": [_finding(finding) for finding in run.get("findings") or [] if isinstance(finding, dict)],
        "compared": compare(files.evaluation),
        "benchmark": _table(files.benchmark),
        "predictions": _answers(files.predictions),
        "prediction_count": files.predictions.total,
        "samples": _answers(files.samples),
        "sample_count": files.samples.total,
        "plan": _plan_sections(plan),
        "given": _parameters(plan, given=True),
        "defaults": _parameters(plan, given=False),
        "ignored": [flag_of(str(name)) for name in plan.get("ignored") or []],
        "versions": mapping(run.get("versions")),
        "seed": run.get("seed"),
        "fingerprint": run.get("data_fingerprint"),
        "written": [str(name) for name in run.get("files") or []],
        "command": _command(files.command),
        "notes": files.notes,
    }


def _summary(plan: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    """The trainer, the model, the data and the steps in one line."""
    try:
        steps = outcome.get("steps", plan["steps"])
        return f"{plan['trainer']} of {plan['model']['name']} on {plan['data']['path']}: {plan['data']['rows']:,} rows, {steps:,} steps"
    except (KeyError, TypeError, ValueError):  # a record that is damaged
        return ""


def _tiles(run: Mapping[str, Any], outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top."""
    metrics = mapping(run.get("metrics"))
    values = {name: value for name, value in numbers(metrics).items() if not name.endswith("_seconds")}
    tiles = [(label(name), formatting.short(values[name])) for name in sorted(values, key=_tile_rank)][:MAX_TILES]
    if "seconds" in run:
        tiles.append(("duration", duration(run["seconds"])))
    if outcome.get("best_checkpoint"):
        tiles.append(("best checkpoint", str(outcome["best_checkpoint"]).rpartition("/")[2]))
    return tiles


def _tile_rank(metric: str) -> int:
    """The loss and the evaluation come first, speed last."""
    last = {name for spec in SPEED for name in spec.metrics}
    return 0 if metric == "loss" else 1 if metric.startswith("eval_") else 3 if metric in last else 2


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    location = [finding.get("file"), f"row {finding['row']}" if finding.get("row") else None]
    names = [str(name) for name in finding.get("parameters") or []]
    return {
        "severity": str(finding.get("severity", "warning")),
        "code": str(finding.get("code", "")),
        "message": str(finding.get("message", "")),
        "fix": finding.get("fix"),
        "flags": [flag_of(name) for name in names],
        "location": ", ".join(str(part) for part in location if part),
    }


def _plan_sections(plan: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The plan in sections, as the terminal shows it; empty if run.json is damaged or of another version."""
    try:
        return Plan.from_json(plan).summary()
    except (TypeError, KeyError, ValueError, AttributeError):
        return []


def _parameters(plan: Mapping[str, Any], *, given: bool) -> list[tuple[str, str, str]]:
    """(flag, value, source) of the parameters that were set, or of those at their defaults; never a secret."""
    cells = mapping(plan.get("parameters"))
    rows = []
    for name, cell in cells.items():
        if isinstance(cell, dict) and (cell.get("source") not in DEFAULTS) == given:
            is_secret = name in PARAMS and PARAMS[name].secret and cell.get("value")
            rows.append(
                (
                    flag_of(name),
                    SECRET if is_secret else formatting.exact(cell.get("value")),
                    str(cell.get("source", "")),
                )
            )
    return rows


def _command(script: str) -> str:
    """`command.sh` without its first line."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("#!")).replace(' "$@"', "").strip()


def _answers(rows: Rows) -> list[dict[str, Any]]:
    """The prompt, reference, model output and scores of each row."""
    answers = []
    for row in rows.shown:
        output = next((row[name] for name in ("prediction", "completion", "answer") if name in row), None)
        texts = [("prompt", row.get("prompt")), ("reference", row.get("reference")), ("output", output)]
        scores = {name: value for name, value in numbers(row).items() if name not in NOT_SCORES}
        answers.append(
            {
                "step": row.get("step"),
                "texts": [(title, formatting.text(text)) for title, text in texts if text is not None],
                "scores": [(name.removeprefix("scores/"), value) for name, value in scores.items()],
            }
        )
    return answers


def _table(document: Any) -> tuple[list[str], list[Row]] | None:
    """Any document as a table: a list of objects has a column for each key; an object of objects a row for each of them."""
    if isinstance(document, dict):
        nested = {name: _cells(value) for name, value in document.items() if isinstance(value, dict)}
        flat = {name: value for name, value in document.items() if isinstance(value, str | int | float)}
        if not nested:
            return (["", "value"], list(flat.items())) if flat else None
        columns = list(dict.fromkeys(key for cells in nested.values() for key in cells))
        rows: list[Row] = [(name, *(cells.get(column) for column in columns)) for name, cells in nested.items()]
        return ["", *columns], rows + [(name, value, *[None] * (len(columns) - 1)) for name, value in flat.items()]
    if isinstance(document, list):
        objects = [_cells(entry) for entry in document if isinstance(entry, dict)]
        columns = list(dict.fromkeys(key for cells in objects for key in cells))
        return (columns, [tuple(cells.get(column) for column in columns) for cells in objects]) if objects else None
    return None


def _cells(document: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by their joined names, and the texts beside them."""
    texts = {str(name): value for name, value in document.items() if isinstance(value, str | bool)}
    return texts | numbers(document)


def _panel_plots(drawn: Sequence[Panel], notes: list[str]) -> list[Plot]:
    from autotrain_llm.run.report.plots import draw

    return _plots([(panel.title, panel.unit, partial(draw, panel)) for panel in drawn], notes)


def _study_plots(files: RunFiles, sweep: Sweep | None) -> list[Plot]:
    """Optuna's plots; none where neither the journal nor the record of the trials has the search spaces."""
    if sweep is None:
        return []
    from autotrain_llm.run.report.study import find_study, plots_of, quiet_optuna, study_of

    with quiet_optuna():
        study = find_study(files.folder, sweep.study) or study_of(files.sweep)
    if study is None:
        files.notes.append("There are no plots of the sweep: sweep/ has neither a journal nor the search spaces.")
        return []
    return _plots([(title, "", draw) for title, draw in plots_of(study, label(sweep.metric))], files.notes)


def _plots(drawn: Sequence[tuple[str, str, Callable[[], str]]], notes: list[str]) -> list[Plot]:
    """Draw each; one that fails is a note, and the others are there."""
    plots = []
    for title, unit, draw in drawn:
        try:
            plots.append((title, unit, Markup(draw())))  # matplotlib escapes the text that it writes
        except Exception as fault:
            notes.append(f"“{title}” could not be drawn: {type(fault).__name__}: {fault}")
    return plots
