"""The report of a pipeline: one table of its stages, from pipeline.json and the files of their runs; each stage has a report of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.context.output_dir import earlier_run
from autotrain_llm.context.pipeline_record import PIPELINE_FILE, PipelineRecord, StageRecord, read_record
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.text import duration, plural
from autotrain_llm.run.pipeline.results import StageSummary, summary_of
from autotrain_llm.run.report.curves import label
from autotrain_llm.run.report.page import STATES, style, template

REPORT = "report.html"
NOT_STARTED = ("Not started", "fair")


class StageRow(NamedTuple):
    """One line of the table; `report` and `model` are relative to the page."""

    name: str
    trainer: str
    start: str
    steps: int | None
    time: str
    metric: str
    before: float | None
    after: float | None
    model: str
    report: str | None
    state: str
    mood: str
    failure: str | None


def holds_pipeline(folder: Path) -> bool:
    """Whether a folder is that of a pipeline."""
    return (folder / PIPELINE_FILE).is_file()


def pipeline_page(folder: Path) -> str:
    """The page about the pipeline in this folder."""
    record = read_record(folder) or PipelineRecord()
    rows = [_row(folder, stage) for stage in record.stages.values()]
    state, mood = STATES["ok"] if record.status == "ok" else STATES["running"]
    total = sum(stage.seconds for stage in record.stages.values())
    return template("pipeline.html.jinja").render(
        name=folder.resolve().name,
        state=state,
        mood=mood,
        summary=f"{plural(len(rows), 'stage')} of {record.config}, {duration(total)}",
        stages=rows,
        style=style(),
    )


def _row(folder: Path, stage: StageRecord) -> StageRow:
    run = earlier_run(folder / stage.name)
    plan, outcome = mapping(run.get("plan")), mapping(run.get("outcome"))
    state, mood = STATES.get(stage.status, NOT_STARTED)
    trainer = str(plan.get("trainer") or stage.inputs.parameters.get("trainer") or PARAMS["trainer"].default)
    summary = summary_of(folder / stage.name, trainer, stage.seconds)
    return StageRow(
        stage.name,
        trainer,
        _start(folder, stage, plan),
        summary.steps,
        duration(stage.seconds or None),
        *_metric(summary),
        stage.name if run else "",
        f"{stage.name}/{REPORT}" if (folder / stage.name / REPORT).is_file() else None,
        state,
        mood,
        outcome.get("failure") or outcome.get("message"),
    )


def _start(folder: Path, stage: StageRecord, plan: dict[str, Any]) -> str:
    """The model that a stage began with, by its stage if it is one of this pipeline."""
    name = str(mapping(plan.get("model")).get("name") or "")
    run, _, choice = name.partition("@")
    inside = os.path.relpath(Path(run).expanduser(), folder) if name else ""
    is_stage = bool(name) and not inside.startswith("..") and "/" not in inside and ":" not in name
    return f"{inside}{'@' if choice else ''}{choice}" if is_stage else name


def _metric(summary: StageSummary) -> tuple[str, float | None, float | None]:
    change = summary.metric
    return ("", None, None) if change is None else (label(change.name), change.before, change.after)
