"""Runs as the pages show them: a line of the list, the live view of one, and several compared. All is read from the files of their folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.app.drawing import Chart, chart
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import GIVEN
from autotrain_llm.context.output_dir import (
    EARLIER_SECONDS,
    KILLED,
    RUN_FILE,
    SWEEP,
    TIME_FORMAT,
    checkpoints_in,
    is_complete,
    seconds_of,
    status_in,
)
from autotrain_llm.context.pipeline_record import PipelineRecord, read_record
from autotrain_llm.declare.document import mapping, parse_json
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import duration, plain, without_point

if TYPE_CHECKING:
    from autotrain_llm.run.report.curves import Panel, PointsOf
    from autotrain_llm.run.report.read import RunFiles
    from autotrain_llm.run.report.trials import Sweep

TRIALS = Path(SWEEP, "trials.json")
METRICS, REPORT = "metrics.jsonl", "report.html"
RUNNING, STARTING, OK = "running", "starting", "ok"
FINISHING, STOPPING, FAILING = "finishing", "stopping", "failing"
LIVE = (RUNNING, STARTING, FINISHING, STOPPING, FAILING)
# What a process does whose record says already how the run ended: it writes the report, and what else follows.
ENDING = {OK: FINISHING, "interrupted": STOPPING, "failed": FAILING, "stopped": STOPPING}
STATES = {
    OK: ("Finished", "good"),
    "failed": ("Failed", "bad"),
    "interrupted": ("Stopped", "fair"),
    "stopped": ("Stopped", "fair"),  # a pipeline, between two of its stages or in one
    RUNNING: ("Running", "live"),
    STARTING: ("Starting", "live"),
    FINISHING: ("Finishing", "live"),
    STOPPING: ("Stopping", "live"),
    FAILING: ("Failing", "live"),
    "refused": ("Refused", "bad"),
    KILLED: ("Killed", "bad"),
}
RESUMABLE = ("failed", "interrupted", KILLED)
# The classes of models that answer, and of those that score answers.
CHATS, SCORES = "AutoModelForCausalLM", "AutoModelForSequenceClassification"
TAIL = 16 * 1024  # bytes at the end of metrics.jsonl in which its last line is looked for
SHOWN_SAMPLES = 8


@dataclass(frozen=True)
class Line:
    """A run in the list."""

    folder: str
    name: str
    state: str
    trainer: str
    model: str
    data: str
    kind: str  # what it is besides a run: sweep, stages
    step: int  # of `steps`; while a sweep goes on, its trials that have ended
    steps: int
    unit: str  # step or trial
    headline: tuple[tuple[str, float], ...]  # metric in words, value
    started: str
    seconds: float | None

    @property
    def badge(self) -> tuple[str, str]:
        return STATES.get(self.state, (self.state or "Unknown", "fair"))

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def share(self) -> float:
        return min(1.0, self.step / self.steps) if self.steps else 0.0

    @property
    def took(self) -> str:
        return duration(self.seconds) if self.seconds is not None else ""

    @property
    def metrics(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self.headline)

    def matches(self, words: Sequence[str]) -> bool:
        """Whether all words occur in what the line shows."""
        text = " ".join([self.folder, self.badge[0], self.trainer, self.model, self.data, self.kind]).lower()
        return all(word in text for word in words)


def line_of(folder: Path, shown: str) -> Line:
    """A run's line. What its files don't have, or have in a damaged form, is empty."""
    run = run_document(folder)
    plan = mapping(run.get("plan"))
    data, model = mapping(plan.get("data")), mapping(plan.get("model"))
    state = status_in(run, folder) or ""
    kind = "sweep" if plan.get("sweep") else ""
    spent = seconds_of(run, folder)
    if not run:
        record = read_record(folder)
        if record is not None:
            kind, state = "stages", status_in({"status": record.status}, folder) or ""
            spent = sum(stage.seconds for stage in record.stages.values())
    steps = plan.get("steps") if isinstance(plan.get("steps"), int) else 0
    last = _last_metrics(folder)
    step, unit = int(last.get("step", 0)), "step"
    if kind == "sweep" and state != OK:
        step, steps, unit = _ended_trials(folder), mapping(plan["sweep"]).get("trials") or 0, "trial"
    elif kind == "sweep":
        steps = (
            mapping(run.get("outcome")).get("steps") or step
        )  # of the best trial; the plan's are of the command's own values
    metrics = {**last, **_numbers(run.get("metrics"))} if state == OK else last
    return Line(
        folder=shown,
        name=showable(folder.name),
        state=state,
        trainer=str(plan.get("trainer", "")),
        model=showable(str(model.get("name", ""))),
        data=showable(str(data.get("path", ""))),
        kind=kind,
        step=step,
        steps=steps or 0,
        unit=unit,
        headline=_headline(plan, metrics),
        started=str(run.get("started", "")).replace("T", " ")[:16],
        seconds=spent or None if state not in LIVE else None,
    )


def _headline(plan: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    from autotrain_llm.run.report.curves import label
    from autotrain_llm.run.report.headline import trainer_of

    if str(plan.get("trainer")) not in TRAINERS:
        return ()
    chosen = [found for metric in trainer_of(plan).headline for found in (f"eval_{metric}", metric) if found in metrics]
    return tuple((label(metric), metrics[metric]) for metric in chosen[:2])


def is_stage(folder: Path) -> bool:
    """Whether the run in a folder is a stage of a pipeline, which alone goes on with it."""
    record = read_record(folder.parent)
    return record is not None and folder.name in record.stages


def written_status(folder: Path) -> str:
    """What the record of a run or a pipeline says of it; empty without one."""
    record = None if (run := run_document(folder)) else read_record(folder)
    return str(run.get("status") or "") if record is None else record.status


def run_document(folder: Path) -> dict[str, Any]:
    """The content of run.json; empty if it is missing or damaged."""
    try:
        stat = (folder / RUN_FILE).stat()
        return _read_document(folder / RUN_FILE, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=512)
def _read_document(path: Path, modified: int, size: int) -> dict[str, Any]:
    return mapping(parse_json(path.read_text(encoding="utf-8", errors="replace")))


def _ended_trials(folder: Path) -> int:
    """How many trials of a sweep have ended, whichever way."""
    try:
        trials = mapping(parse_json((folder / TRIALS).read_text(encoding="utf-8"))).get("trials")
    except (OSError, ValueError):
        return 0
    return (
        sum(mapping(trial).get("state") not in (RUNNING, "interrupted") for trial in trials)
        if isinstance(trials, list)
        else 0
    )


def _last_metrics(folder: Path) -> dict[str, float]:
    """The newest value of each metric in the last lines of metrics.jsonl."""
    try:
        with (folder / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    values: dict[str, float] = {}
    for line in lines:
        try:
            values |= _numbers(parse_json(line))
        except ValueError:  # the first, cut where reading began, or the last, which is being written
            continue
    return values


def _numbers(document: Any) -> dict[str, float]:
    return {
        str(name): value
        for name, value in mapping(document).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


# ---- one run


@dataclass(frozen=True)
class View:
    """What the page of a run shows besides its report; it is made again while the run goes on."""

    line: Line
    left: str  # time until it ends, in words
    tiles: list[tuple[str, str]]
    quality: list[Chart]
    speed: list[Chart]
    unchanged: list[tuple[str, float]]  # metrics that had one value at every log, which have no curve
    samples: list[dict[str, Any]]
    sweep: Sweep | None
    stages: list[Line]
    failure: str
    fix: str
    notes: list[str]
    plan: list[tuple[str, list[tuple[str, str, str]]]]
    findings: list[dict[str, Any]]
    command: str
    has_report: bool
    has_old_report: bool  # of the run as it was before it was resumed
    predictions: int
    has_config: bool  # whether the config of a pipeline is known
    part_of: str  # the pipeline that it is a stage of
    is_kept: bool  # whether there is a run, or a pipeline, and not only a command that was refused
    can_resume: bool
    model: str  # what is there to talk with or to train further: the finished model, else the newest checkpoint; empty if nothing is
    can_answer: bool
    can_score: bool  # whether it is a reward model, which ppo and its kind can be trained with


def view_of(folder: Path, shown: str, state: str | None = None) -> View:
    """The view of a run. `state` is what its process says of it, where its files don't say it yet."""
    from autotrain_llm.planning.plan import summary_of
    from autotrain_llm.run.report.curves import label, panels, points_of, unchanged
    from autotrain_llm.run.report.headline import trainer_of
    from autotrain_llm.run.report.read import read_run
    from autotrain_llm.run.report.trials import sweep_of

    files = read_run(folder)
    line = line_of(folder, shown)
    if state is not None:
        line = replace(line, state=state)
    first = trainer_of(mapping(files.run.get("plan"))).headline
    points = points_of(files.log, files.evaluation)
    quality, speed = panels(points, first)
    outcome = mapping(files.run.get("outcome"))
    produces = TRAINERS[line.trainer].produces if line.trainer in TRAINERS else ""
    record = read_record(folder)
    stages = _stages(folder, shown, record) if record is not None else []
    model = "" if stages or line.is_live else _model_in(folder, line)
    written = _is_written_after(folder / REPORT, folder / RUN_FILE)
    return View(
        line=line,
        left=_time_left(line, files) if line.state == RUNNING and line.unit == "step" else "",
        tiles=_tiles(line, files),
        quality=[_chart(panel) for panel in quality],
        speed=[_chart(panel) for panel in speed],
        unchanged=[(label(name), value) for name, value in unchanged(points, first)],
        samples=[_sample(row) for row in files.samples.shown[-SHOWN_SAMPLES:][::-1]],
        sweep=sweep_of(files),
        stages=stages,
        failure=showable(str(outcome.get("failure") or outcome.get("message") or "")),
        fix=showable(str(outcome.get("fix") or "")),
        notes=files.notes,
        plan=summary_of(mapping(files.run.get("plan"))),
        findings=[_finding(finding) for finding in files.run.get("findings") or [] if isinstance(finding, dict)],
        command=files.command,
        has_report=(folder / REPORT).is_file() and not line.is_live,
        has_old_report=line.state == KILLED and not written,
        predictions=files.predictions.total,
        is_kept=bool(files.run) or record is not None,
        can_resume=_can_resume(folder, line, record),
        has_config=record is not None and bool(record.config),
        part_of=shown.rpartition("/")[0] if is_stage(folder) else "",
        model=model,
        can_answer=bool(model) and produces == CHATS,
        can_score=bool(model) and produces == SCORES,
    )


def _stages(folder: Path, shown: str, record: PipelineRecord) -> list[Line]:
    """The stages that were begun; one that was stopped before it had written a run has the state of the record."""
    lines = [(line_of(folder / name, f"{shown}/{name}"), stage) for name, stage in record.stages.items()]
    return [line if line.state else replace(line, state=stage.status) for line, stage in lines]


def _can_resume(folder: Path, line: Line, record: PipelineRecord | None) -> bool:
    if record is not None:
        return line.state in ("stopped", KILLED) and bool(record.words)
    if line.state not in RESUMABLE or is_stage(folder):
        return False
    return any(map(is_complete, checkpoints_in(folder))) or (line.kind == "sweep" and (folder / SWEEP).is_dir())


def _model_in(folder: Path, line: Line) -> str:
    """The path of a run's model: its folder if it has finished, else its newest complete checkpoint; empty if it has none."""
    if line.state == OK:
        return line.folder
    newest = next((path for path in reversed(checkpoints_in(folder)) if is_complete(path)), None)
    return f"{line.folder}/{newest.relative_to(folder)}" if newest is not None else ""


def models_of(folder: Path, line: Line) -> str:
    """The same, if it is one that answers."""
    produces = TRAINERS[line.trainer].produces if line.trainer in TRAINERS else ""
    return _model_in(folder, line) if produces == CHATS and not line.is_live else ""


def _is_written_after(path: Path, other: Path) -> bool:
    try:
        return path.stat().st_mtime >= other.stat().st_mtime
    except OSError:
        return True


def _finding(finding: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(finding.get(name) or "") for name in ("severity", "message", "code", "fix")}


def _chart(panel: Panel) -> Chart:
    """A panel of the report as a chart."""
    from autotrain_llm.run.report.plots import curves_of

    return chart(panel.title, panel.unit, curves_of(panel), panel.log_axis)


def _time_left(line: Line, files: RunFiles) -> str:
    """The time until the last step, at the speed since the run was started, or resumed: what was logged before is not of this process."""
    began = _time_of(str(files.run.get("started", "")))
    since = began.timestamp() if began is not None else 0.0
    logged = [(entry["step"], entry.get("time")) for entry in files.log]
    timed = [(step, at) for step, at in logged if isinstance(at, int | float) and at >= since]
    if len(timed) < 2 or timed[-1][0] <= timed[0][0] or not line.steps:
        return ""
    each = (timed[-1][1] - timed[0][1]) / (timed[-1][0] - timed[0][0])
    return duration(each * max(0, line.steps - line.step))


def _tiles(line: Line, files: RunFiles) -> list[tuple[str, str]]:
    """The headline of the run: how far it is, its metrics now, and how long it took."""
    tiles = [(line.unit, f"{line.step:,} of {line.steps:,}")] if line.steps else []
    for name, value in line.headline:
        tiles.append((name, f"{value:.4g}"))
    best = mapping(files.run.get("outcome")).get("best_checkpoint")
    if best:
        tiles.append(("best checkpoint", str(best).rpartition("/")[2]))
    if line.seconds is not None:
        tiles.append(("duration", duration(line.seconds)))
    elif line.is_live and line.started:
        tiles.append(("running for", _running_for(files.run)))
    return tiles


def _running_for(run: Mapping[str, Any]) -> str:
    begin, earlier = _time_of(str(run.get("started", ""))), run.get(EARLIER_SECONDS, 0.0)
    return (
        "–" if begin is None else duration((datetime.now(begin.tzinfo) - begin).total_seconds() + float(earlier or 0))
    )


def _time_of(started: str) -> datetime | None:
    try:
        return datetime.strptime(started, TIME_FORMAT)
    except ValueError:
        return None


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    from autotrain_llm.run.report.formatting import text
    from autotrain_llm.run.report.read import output_of

    return {
        "step": row.get("step"),
        "prompt": text(row.get("prompt"))[-1200:],
        "answer": text(output_of(row))[:2400],
        "reward": row.get("reward"),
    }


# ---- several runs


@dataclass(frozen=True)
class Comparison:
    """Several runs: in what their plans differ, their results, and their curves over each other."""

    lines: list[Line]
    differences: list[tuple[str, list[str]]]
    equal: int  # parameters that were set and are the same in all
    results: list[tuple[str, list[str]]]
    charts: list[Chart]


def comparison_of(runs: Sequence[tuple[Path, str]]) -> Comparison:
    """Compare runs: (folder, path as shown)."""
    from autotrain_llm.run.report.curves import SPEED, label, panels, points_of
    from autotrain_llm.run.report.read import read_run
    from autotrain_llm.run.report.svg import COLOURS, Curve

    lines = [line_of(folder, shown) for folder, shown in runs]
    documents = [run_document(folder) for folder, _ in runs]
    cells = [mapping(mapping(document.get("plan")).get("parameters")) for document in documents]
    differences, equal = _differences(cells)
    metrics = [
        _numbers(document.get("metrics")) or _last_metrics(runs[index][0]) for index, document in enumerate(documents)
    ]
    left_out = {"step", "time", "epoch", *(metric for spec in SPEED for metric in spec.metrics)}
    short_names = len({line.name for line in lines}) == len(lines)
    names = [
        name
        for name in dict.fromkeys(name for values in metrics for name in values)
        if name not in left_out and not name.endswith("_seconds")
    ]
    results = [
        (label(name), [f"{values[name]:.4g}" if name in values else "–" for values in metrics]) for name in names
    ]
    charts: dict[str, tuple[str, bool, list[Curve]]] = {}
    points = [points_of(files.log, files.evaluation) for files in (read_run(folder) for folder, _ in runs)]
    drawn_always = _that_differ(points)
    for index, of_run in enumerate(points):
        for panel in panels(of_run, drawn_always)[0]:
            for series in panel.series:
                title = label(series.name)
                _, _, curves = charts.setdefault(title, (panel.unit, panel.log_axis, []))
                name = lines[index].name if short_names else lines[index].folder
                curves.append(Curve(name, series.points, index % COLOURS + 1))
    drawn = [
        chart(title[0].upper() + title[1:], unit, curves, is_log) for title, (unit, is_log, curves) in charts.items()
    ]
    return Comparison(lines, differences, equal, results, drawn)


def _that_differ(points: Sequence[PointsOf]) -> list[str]:
    """The metrics that are not the same at every log of every run, those of the reports' plots first: a run in which one never changes is drawn beside the others."""
    from autotrain_llm.run.report.curves import SPECS, is_constant

    together: dict[str, list[tuple[float, float]]] = {}
    for of_run in points:
        for name, of_metric in of_run.items():
            together.setdefault(name.removeprefix("eval_"), []).extend(of_metric)
    order = {name: index for index, name in enumerate(SPECS)}
    differing = [name for name, of_metric in together.items() if name == "loss" or not is_constant(of_metric)]
    return sorted(differing, key=lambda name: order.get(name, len(order)))


def _differences(cells: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, list[str]]], int]:
    """The parameters that are not the same in all runs, and how many that were set are."""
    rows, equal = [], 0
    for name in dict.fromkeys(name for run in cells for name in run):
        if name in PARAMS and (PARAMS[name].secret or name == "output_dir" or PARAMS[name].checking):
            continue
        values = [mapping(run.get(name)).get("value") for run in cells]
        if len({json.dumps(value, sort_keys=True) for value in values}) > 1:
            rows.append((flag_of(name), [_value(value) for value in values]))
        elif any(mapping(run.get(name)).get("source") in GIVEN for run in cells):
            equal += 1
    return rows, equal


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return showable(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else plain(without_point(value)))
