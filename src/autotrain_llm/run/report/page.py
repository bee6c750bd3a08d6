"""Put the page together: the contents of each section, and the template that renders them and escapes every text."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from importlib import resources
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.context.output_dir import KILLED
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.record import EMPTY
from autotrain_llm.declare.text import duration
from autotrain_llm.planning.make import SECRET
from autotrain_llm.planning.plan import summary_of
from autotrain_llm.run.artifacts.metric_changes import compare, numbers
from autotrain_llm.run.report import formatting
from autotrain_llm.run.report.curves import Panel, PointsOf, label, panels, points_of, unchanged
from autotrain_llm.run.report.headline import MOST, Headline, headlines, trainer_of
from autotrain_llm.run.report.plots import draw
from autotrain_llm.run.report.read import Place, Rows, RunFiles, output_of, place_of
from autotrain_llm.run.report.study import plots_of
from autotrain_llm.run.report.trials import Sweep, sweep_of

DEFAULTS = ("default", "trainer default")
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
    sweep = sweep_of(files)
    first = trainer_of(mapping(files.run.get("plan"))).headline
    points = points_of(files.log, files.evaluation)
    quality, speed = panels(points, first)
    script = resource("plots.js")
    return template("page.html.jinja").render(
        _contents(files, points),
        sweep=sweep,
        quality=_panel_plots(quality, files.notes),
        speed=_panel_plots(speed, files.notes),
        unchanged=[(label(name), value) for name, value in unchanged(points, first)],
        study=_study_plots(files, sweep),
        style=style(),
        script=Markup(script),  # the package's own file, as the style is
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def style() -> Markup:
    """The styles of a page and of its plots."""
    return Markup(resource("page.css") + resource("plots.css"))


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
    }
    return environment.from_string(resource(name))


def resource(name: str) -> str:
    """A file of this folder as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _contents(files: RunFiles, points: PointsOf) -> dict[str, Any]:
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
        "tiles": _tiles(files, points, outcome),
        "findings": [_finding(finding) for finding in run.get("findings") or [] if isinstance(finding, dict)],
        "compared": compare(files.evaluation),
        "benchmark": _table(files.benchmark),
        "predictions": _answers(files.predictions, files.predictions_before),
        "trained_rows": [_trained_row(row) for row in files.trained_rows],
        "prediction_count": files.predictions.total,
        "samples": _answers(files.samples),
        "sample_count": files.samples.total,
        "plan": summary_of(plan),
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


class Tile(NamedTuple):
    """A number at the top: its name, the last value, how it changed, and the best value if that is another."""

    title: str
    value: str
    change: str
    best: str


def _tiles(files: RunFiles, points: PointsOf, outcome: Mapping[str, Any]) -> list[Tile]:
    """The few numbers at the top."""
    run = files.run
    tiles = [_tile(one) for one in headlines(mapping(run.get("plan")), points, files.evaluation)]
    if not tiles:  # a run without a log
        metrics = numbers(mapping(run.get("metrics")))
        tiles = [Tile(label(name), formatting.short(metrics[name]), "", "") for name in list(metrics)[:MOST]]
    if "seconds" in run:
        best = str(outcome.get("best_checkpoint") or "").rpartition("/")[2]
        tiles.append(Tile("Duration", duration(run["seconds"]), "", f"best checkpoint: {best}" if best else ""))
    return tiles


def _tile(headline: Headline) -> Tile:
    first, last = headline.first[1], headline.last[1]
    change = f"from {formatting.short(first)}, {formatting.change(last - first, first)}" if headline.changed else ""
    return Tile(headline.title, formatting.short(last), change, headline.best_in_words().removeprefix(", "))


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


def _answers(rows: Rows, before: Mapping[Place, Mapping[str, Any]] = EMPTY) -> list[dict[str, Any]]:
    """The prompt, reference, model output and scores of each row; the output before training stands beside that after it."""
    answers = []
    for row in rows.shown:
        earlier, output = output_of(before.get(place_of(row), {})), output_of(row)
        texts = [("prompt", row.get("prompt")), ("reference", row.get("reference"))]
        sides = [("before training", earlier), ("after training", output)]
        if earlier is None:
            texts, sides = [*texts, ("output", output)], []
        scores = {name: value for name, value in numbers(row).items() if name not in NOT_SCORES}
        answers.append(
            {
                "step": row.get("step"),
                "texts": [(title, formatting.text(text)) for title, text in texts if text is not None],
                "sides": [(title, formatting.text(text)) for title, text in sides if text is not None],
                "scores": [(name.removeprefix("scores/"), value) for name, value in scores.items()],
            }
        )
    return answers


def _trained_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of trained_rows.json: its source, and its parts as texts that are trained on or not."""
    listed = row.get("parts")
    parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    return {
        "source": row.get("source"),
        "parts": [
            (
                str(part.get("name", "")),
                [
                    (str(text.get("text", "")), bool(text.get("trained")))
                    for text in part.get("texts") or ()
                    if isinstance(text, dict)
                ],
            )
            for part in parts
        ],
    }


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
    return _plots([(panel.title, panel.unit, partial(draw, panel)) for panel in drawn], notes)


def _study_plots(files: RunFiles, sweep: Sweep | None) -> list[Plot]:
    if sweep is None:
        return []
    return _plots([(title, "", drawing) for title, drawing in plots_of(files.sweep, label(sweep.metric))], files.notes)


def _plots(drawn: Sequence[tuple[str, str, Callable[[], str]]], notes: list[str]) -> list[Plot]:
    """Draw each; one that fails, on values of a damaged file, is a note, and the others are there."""
    plots = []
    for title, unit, drawing in drawn:
        try:
            plots.append((title, unit, Markup(drawing())))  # it escapes the texts that it writes
        except (ValueError, TypeError, OverflowError, ZeroDivisionError) as fault:
            notes.append(f"“{title}” could not be drawn: {type(fault).__name__}: {fault}")
    return plots
