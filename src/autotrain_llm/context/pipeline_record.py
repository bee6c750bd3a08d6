"""`pipeline.json` in the folder of a pipeline: for each stage what it was trained from and how it ended.

It is written when a stage starts, so that its folder can be told from one that it replaces, and again when the stage has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotrain_llm.context.output_dir import WEIGHTS, earlier_run
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.record import EMPTY, Record

PIPELINE_FILE = "pipeline.json"
FORM = 1  # version of the file


class Inputs(Record):
    """What a stage is trained from: the parameters that are given, a digest of each file, and for each parameter that names an earlier stage
    the run of it that was used."""

    parameters: Mapping[str, Any] = EMPTY
    files: Mapping[str, str] = EMPTY
    stages: Mapping[str, str] = EMPTY


class StageRecord(Record):
    """What the file has about a stage. `replaces` is the run that was in its folder when it started, `seconds` the time of all its attempts,
    `selection` the `--from-stage` or `--only` by which it was chosen."""

    name: str
    inputs: Inputs
    replaces: str | None = None
    status: str = "running"
    seconds: float = 0.0
    selection: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {**self.as_dict(), "inputs": self.inputs.as_dict()}


class PipelineRecord(Record):
    """The whole file. `selection` is the `--from-stage` or `--only` of a command that was stopped, which goes on if it is given again. `words` are those after
    `autotrain llm` that go on with it, without secrets, typed in the folder `started_in`."""

    stages: Mapping[str, StageRecord] = EMPTY
    status: str = "running"
    config: str | None = None
    selection: str | None = None
    words: tuple[str, ...] = ()
    started_in: str | None = None

    def as_json(self) -> dict[str, Any]:
        stages = [stage.as_json() for stage in self.stages.values()]
        return {
            "form": FORM,
            "status": self.status,
            "config": self.config,
            "selection": self.selection,
            "words": list(self.words),
            "started_in": self.started_in,
            "stages": stages,
        }

    def with_stage(self, stage: StageRecord) -> PipelineRecord:
        return self.replace(stages={**self.stages, stage.name: stage})


def read_record(folder: Path) -> PipelineRecord | None:
    """The record in a folder; None if there is none, or it is damaged."""
    try:
        document = parse_json((folder / PIPELINE_FILE).read_text(encoding="utf-8"))
        if document["form"] != FORM:
            return None
        stages = [StageRecord(**{**stage, "inputs": Inputs(**stage["inputs"])}) for stage in document["stages"]]
        named = {stage.name: stage for stage in stages}
        words = tuple(str(word) for word in document.get("words") or ())  # a file of an earlier version has none
        about = {name: document[name] for name in ("status", "config", "selection")}
        return PipelineRecord(named, **about, words=words, started_in=document.get("started_in"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_in(folder: Path) -> str | None:
    """The run in a stage's folder, by the time it was started; None if there is none."""
    started = earlier_run(folder).get("started")
    return started if isinstance(started, str) else None


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder ended and its model is there."""
    return earlier_run(folder).get("status") == "ok" and any((folder / name).exists() for name in WEIGHTS)
