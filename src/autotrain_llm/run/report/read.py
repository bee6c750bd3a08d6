"""Read what a run left in its folder. Every file but `run.json` may be missing; what is damaged is left out and said in a note."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.run.artifacts.metric_changes import EVALUATION

PREDICTIONS_SHOWN = 16
SAMPLES_SHOWN = 24
LONGEST_LOG = 200_000  # lines of metrics.jsonl


@dataclass
class Rows:
    """Some rows of a file, evenly spread over it, and how many it has."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0


@dataclass
class RunFiles:
    """The files of one run. `notes` says what could not be read."""

    folder: Path
    run: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    command: str = ""
    evaluation: dict[str, Any] = field(default_factory=dict)
    benchmark: Any = None
    predictions: Rows = field(default_factory=Rows)
    samples: Rows = field(default_factory=Rows)
    sweep: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_run(folder: Path) -> RunFiles:
    """Everything that a report shows of the run in `folder`."""
    files = RunFiles(folder)
    files.run = mapping(_document(files, Path("run.json")))
    files.log = [entry for entry in _lines(files, Path("metrics.jsonl")) if _is_step(entry.get("step"))][-LONGEST_LOG:]
    files.command = _text(files, Path("command.sh")) or ""
    files.evaluation = mapping(_document(files, EVALUATION))
    files.benchmark = _document(files, Path("eval", "benchmark.json"))
    files.predictions = _some(files, Path("eval", "predictions.jsonl"), PREDICTIONS_SHOWN)
    files.samples = _some(files, Path("samples.jsonl"), SAMPLES_SHOWN)
    files.sweep = _sweep(_document(files, Path("sweep", "trials.json")))
    return files


def _text(files: RunFiles, path: Path) -> str | None:
    """A file's text; None where there is no such file."""
    try:
        return (files.folder / path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as problem:
        files.notes.append(f"{path} can't be read: {problem.strerror or problem}.")
        return None


def _document(files: RunFiles, path: Path) -> Any:
    text = _text(files, path)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as problem:
        files.notes.append(f"{path} is damaged and left out: {problem}.")
        return None


def _lines(files: RunFiles, path: Path, only: set[int] | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, or those on the lines `only` (from 0). Damaged lines are skipped and counted."""
    damaged: list[int] = []
    try:
        with (files.folder / path).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file):
                if not line.strip() or (only is not None and number not in only):
                    continue
                row = _parsed(line)
                if isinstance(row, dict):
                    yield row
                else:
                    damaged.append(number + 1)
    except FileNotFoundError:
        return
    except OSError as problem:
        files.notes.append(f"{path} can't be read: {problem.strerror or problem}.")
    if damaged:
        where = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} lines, the first is {damaged[0]}"
        files.notes.append(f"{path} is damaged in {where}; the rest is shown.")


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _some(files: RunFiles, path: Path, wanted: int) -> Rows:
    """`wanted` rows from all over a file that may be long, the first and the last among them."""
    try:
        with (files.folder / path).open("rb") as file:
            filled = [number for number, line in enumerate(file) if line.strip()]
    except OSError:
        filled = []
    last = len(filled) - 1
    chosen = filled if last < wanted else [filled[round(place * last / (wanted - 1))] for place in range(wanted)]
    return Rows(list(_lines(files, path, set(chosen))), len(filled))


def _sweep(document: Any) -> dict[str, Any]:
    """The sweep's record; a bare list is its trials."""
    held = {"trials": document} if isinstance(document, list) else mapping(document)
    trials = held.get("trials")
    return (
        {**held, "trials": [trial for trial in trials if isinstance(trial, dict)]} if isinstance(trials, list) else {}
    )


def mapping(document: Any) -> dict[str, Any]:
    """A document that should be an object; empty where a damaged file holds something else."""
    return document if isinstance(document, dict) else {}


def _is_step(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
