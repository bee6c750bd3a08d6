"""Put the page together: what each section shows, and the template that shows it. Every text is escaped by the template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.declare.param import flag_of
from autotrain_llm.planning.make import SECRET, Plan
from autotrain_llm.run.artifacts.metric_changes import compare, numbers
from autotrain_llm.run.report import shown
from autotrain_llm.run.report.curves import RUNNING, Panel, panels
from autotrain_llm.run.report.read import Rows, RunFiles, mapping
from autotrain_llm.run.report.trials import Sweep, sweep_of

DEFAULTS = ("default", "trainer default")
MOST_TILES = 12
STATES = {
    "ok": ("Finished", "good"),
    "failed": ("Failed", "bad"),
    "interrupted": ("Interrupted", "fair"),
    "running": ("Not finished", "fair"),
}
Picture = tuple[str, str, Markup]  # what it is of, its unit, the drawing
Row = tuple[Any, ...]


def page(files: RunFiles) -> str:
    """The whole page for what a run left in its folder."""
    from autotrain_llm.run.report.pictures import drawing

    sweep = sweep_of(files)
    learning, running = panels(files.log, files.evaluation)
    pictures: list[list[Picture]] = [[], [], []]
    try:
        with drawing():
            pictures = [_drawn(learning, files.notes), _drawn(running, files.notes), _of_study(files, sweep)]
    except ImportError:
        if learning or running:
            files.notes.append("There are no pictures: matplotlib is not installed (pip install matplotlib).")
    return _template().render(
        _parts(files), sweep=sweep, learning=pictures[0], running=pictures[1], study=pictures[2], style=_style()
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "shown": shown.value,
        "exact": shown.exact,
        "change": shown.change,
        "spoken": shown.name,
        "duration": shown.duration,
        "flag": flag_of,
        "start": shown.start,
        "cut": shown.cut,
        "is_wide": _is_wide,
    }
    return environment.from_string(_resource("page.html.jinja"))


def _is_wide(picture: str) -> bool:
    """Whether a drawing is so much wider than high that it takes a line of the page to itself."""
    _, _, width, height = (float(part) for part in picture.split('viewBox="')[1].split('"')[0].split())
    return width > 2.3 * height


def _style() -> Markup:
    return Markup(_resource("page.css"))  # the package's own file


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _parts(files: RunFiles) -> dict[str, Any]:
    """What the template shows of `run.json` and the evaluations."""
    run = files.run
    plan = mapping(run.get("plan"))
    outcome = mapping(run.get("outcome"))
    word, mood = STATES.get(str(run.get("status")), (str(run.get("status", "Unknown")), "fair"))
    return {
        "name": files.folder.resolve().name,
        "state": word,
        "mood": mood,
        "started": str(run.get("started", "")).replace("T", " ")[:19],
        "in_short": _in_short(plan, outcome),
        "failure": outcome.get("failure") or outcome.get("message"),
        "fix": outcome.get("fix"),
        "tiles": _tiles(run, outcome),
        "findings": [_finding(finding) for finding in run.get("findings") or [] if isinstance(finding, dict)],
        "compared": compare(files.evaluation),
        "benchmark": _table(files.benchmark),
        "predictions": _answers(files.predictions, ("prediction", "completion", "answer")),
        "prediction_count": files.predictions.total,
        "samples": _answers(files.samples, ("completion", "answer", "prediction")),
        "sample_count": files.samples.total,
        "summary": _summary(plan),
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


def _in_short(plan: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
    """One sentence: what was trained from what, on what."""
    try:
        steps = outcome.get("steps", plan["steps"])
        return f"{plan['trainer']} of {plan['model']['name']} on {plan['data']['path']}: {plan['data']['rows']:,} rows, {steps:,} steps"
    except (KeyError, TypeError, ValueError):  # a record that is damaged
        return ""


def _tiles(run: Mapping[str, Any], outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top."""
    metrics = mapping(run.get("metrics"))
    held = {name: number for name, number in numbers(metrics).items() if not name.endswith("_seconds")}
    tiles = [(shown.name(name), shown.value(number)) for name, number in sorted(held.items(), key=_weight)][:MOST_TILES]
    if "seconds" in run:
        tiles.append(("time", shown.duration(run["seconds"])))
    if outcome.get("best_checkpoint"):
        tiles.append(("best checkpoint", str(outcome["best_checkpoint"]).rpartition("/")[2]))
    return tiles


def _weight(metric: tuple[str, float]) -> int:
    """The loss and what was evaluated come first, how the run went last."""
    name = metric[0]
    last = {running for drawn in RUNNING for running in drawn.names}
    return 0 if name == "loss" else 1 if name.startswith("eval_") else 3 if name in last else 2


def _finding(finding: Mapping[str, Any]) -> dict[str, Any]:
    places = [finding.get("file"), f"row {finding['row']}" if finding.get("row") else None]
    names = [str(name) for name in finding.get("parameters") or []]
    return {
        "severity": str(finding.get("severity", "warning")),
        "code": str(finding.get("code", "")),
        "message": str(finding.get("message", "")),
        "fix": finding.get("fix"),
        "flags": [flag_of(name) for name in names],
        "place": ", ".join(str(place) for place in places if place),
    }


def _summary(plan: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The plan as the terminal shows it; empty where the record is of another version or damaged."""
    try:
        return Plan(**plan).summary()
    except (TypeError, KeyError, ValueError, AttributeError):
        return []


def _parameters(plan: Mapping[str, Any], *, given: bool) -> list[tuple[str, str, str]]:
    """(flag, value, source) of what somebody chose, or of what was left at its default. A secret is never shown."""
    cells = mapping(plan.get("parameters"))
    rows = []
    for name, cell in cells.items():
        if isinstance(cell, dict) and (cell.get("source") not in DEFAULTS) == given:
            is_secret = name in PARAMS and PARAMS[name].secret and cell.get("value")
            rows.append(
                (flag_of(name), SECRET if is_secret else shown.exact(cell.get("value")), str(cell.get("source", "")))
            )
    return rows


def _command(script: str) -> str:
    """`command.sh` without its first line."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("#!")).replace(' "$@"', "").strip()


def _answers(rows: Rows, names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with a prompt, what was expected, what the model said, and the numbers beside them."""
    answers = []
    for row in rows.shown:
        said = next((row[name] for name in names if name in row), None)
        texts = [("prompt", row.get("prompt")), ("reference", row.get("reference")), ("model", said)]
        beside = {
            name: number for name, number in numbers(row).items() if name not in ("step", "phase", "row", "index")
        }
        answers.append(
            {
                "step": row.get("step"),
                "texts": [(label, shown.text(held)) for label, held in texts if held is not None],
                "scores": [(name.removeprefix("scores/"), number) for name, number in beside.items()],
            }
        )
    return answers


def _table(document: Any) -> tuple[list[str], list[Row]] | None:
    """Any document as a table: a list of objects has a column for each key; an object of objects a row for each of them."""
    if isinstance(document, dict):
        rows = {name: held for name, held in document.items() if isinstance(held, dict)}
        flat = {
            name: held for name, held in document.items() if isinstance(held, str | int | float) and held is not None
        }
        if rows:
            columns = list(dict.fromkeys(key for held in rows.values() for key in _cells(held)))
            table = [(name, *(_cells(held).get(column) for column in columns)) for name, held in rows.items()]
            table += [(name, held, *[None] * (len(columns) - 1)) for name, held in flat.items()]
            return ["", *columns], table
        return (["", "value"], list(flat.items())) if flat else None
    if isinstance(document, list):
        objects = [_cells(held) for held in document if isinstance(held, dict)]
        columns = list(dict.fromkeys(key for held in objects for key in held))
        return (columns, [tuple(held.get(column) for column in columns) for held in objects]) if objects else None
    return None


def _cells(document: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by their joined names, and the words beside them."""
    words = {str(name): held for name, held in document.items() if isinstance(held, str | bool)}
    return words | numbers(document)


def _drawn(wanted: Sequence[Panel], notes: list[str]) -> list[Picture]:
    from autotrain_llm.run.report.pictures import draw

    return _pictures([(panel.title, panel.unit, partial(draw, panel)) for panel in wanted], notes)


def _of_study(files: RunFiles, sweep: Sweep | None) -> list[Picture]:
    """Optuna's pictures; without its storage the table of the trials has to do."""
    if sweep is None:
        return []
    from autotrain_llm.run.report.study import find_study, pictures_of, quiet_optuna, study_of

    with quiet_optuna():
        study = find_study(files.folder, sweep.study) or study_of(files.sweep)
    if study is None:
        files.notes.append(
            "There are no pictures of the sweep: there is neither a journal nor the spaces under sweep/."
        )
        return []
    return _pictures([(title, "", draw) for title, draw in pictures_of(study, sweep.metric)], files.notes)


def _pictures(wanted: Sequence[tuple[str, str, Callable[[], str]]], notes: list[str]) -> list[Picture]:
    """Draw each; one that can't be drawn is a note, and the others are there."""
    pictures = []
    for title, unit, draw in wanted:
        try:
            pictures.append((title, unit, Markup(draw())))  # matplotlib escapes the letters that it writes
        except Exception as fault:
            notes.append(f"“{title}” could not be drawn: {type(fault).__name__}: {fault}")
    return pictures
