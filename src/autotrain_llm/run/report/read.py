"""Read the files of a run's folder. Every file but `run.json` may be missing; what is damaged is skipped, and a note says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotrain_llm.context.output_dir import TRAINED_ROWS, status_of
from autotrain_llm.declare.document import mapping, parse_json
from autotrain_llm.run.artifacts.metric_changes import EVALUATION

MAX_PREDICTIONS = 16
BEFORE_TRAINING = Path("eval", "predictions_before.jsonl")
MAX_SAMPLES = 24
MAX_LOG_LINES = 200_000  # lines of metrics.jsonl


Place = tuple[str, str]  # of a row: its file, and its number there


@dataclass
class Rows:
    """Some rows of a file, evenly spread over it, and how many it has."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0


@dataclass
class RunFiles:
    """The files of one run. `notes` name what could not be read."""

    folder: Path
    run: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    command: str = ""
    evaluation: dict[str, Any] = field(default_factory=dict)
    benchmark: Any = None
    predictions: Rows = field(default_factory=Rows)
    predictions_before: dict[Place, dict[str, Any]] = field(default_factory=dict)
    trained_rows: list[dict[str, Any]] = field(default_factory=list)
    samples: Rows = field(default_factory=Rows)
    sweep: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_run(folder: Path) -> RunFiles:
    """Everything that a report shows of the run in `folder`."""
    files = RunFiles(folder)
    files.run = mapping(_document(files, Path("run.json")))
    if files.run.get("status") == "running":
        files.run["status"] = status_of(folder)
    files.log = _log(files)
    files.command = _text(files, Path("command.sh")) or ""
    files.evaluation = mapping(_document(files, EVALUATION))
    files.benchmark = _document(files, Path("eval", "benchmark.json"))
    files.predictions = _spread(files, Path("eval", "predictions.jsonl"), MAX_PREDICTIONS)
    shown = {place_of(row) for row in files.predictions.shown}
    files.predictions_before = {
        place: row for row in _lines(files, BEFORE_TRAINING) if (place := place_of(row)) in shown
    }
    rows = mapping(_document(files, Path(TRAINED_ROWS))).get("rows")
    files.trained_rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    files.samples = _spread(files, Path("samples.jsonl"), MAX_SAMPLES)
    files.sweep = _sweep(_document(files, Path("sweep", "trials.json")))
    return files


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; empty without one."""
    return _log(RunFiles(folder))


def _log(files: RunFiles) -> list[dict[str, Any]]:
    return [entry for entry in _lines(files, Path("metrics.jsonl")) if is_number(entry.get("step"))][-MAX_LOG_LINES:]


def place_of(row: dict[str, Any]) -> Place:
    """Which row of the data a prediction is of."""
    return str(row.get("file")), str(row.get("row"))


def output_of(row: Mapping[str, Any]) -> Any:
    """What a model wrote to a row; None if it only scored it."""
    return next((row[name] for name in ("prediction", "completion", "answer") if name in row), None)


def _text(files: RunFiles, path: Path) -> str | None:
    """A file's text; None if there is no such file."""
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
        return parse_json(text)
    except ValueError as problem:
        files.notes.append(f"{path} is not valid JSON and is skipped: {problem}.")
        return None


def _lines(files: RunFiles, path: Path, only: set[int] | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, or those on the lines `only` (from 0). Damaged lines are skipped and counted."""
    damaged: list[int] = []
    try:
        with (files.folder / path).open(encoding="utf-8", errors="replace") as file:
            for index, line in enumerate(file):
                if not line.strip() or (only is not None and index not in only):
                    continue
                try:
                    row = parse_json(line)
                except ValueError:
                    row = None
                if isinstance(row, dict):
                    yield row
                else:
                    damaged.append(index + 1)
    except FileNotFoundError:
        return
    except OSError as problem:
        files.notes.append(f"{path} can't be read: {problem.strerror or problem}.")
    if damaged:
        lines = "1 damaged line was" if len(damaged) == 1 else f"{len(damaged)} damaged lines were"
        files.notes.append(f"{path}: {lines} skipped (first: line {damaged[0]}).")


def _spread(files: RunFiles, path: Path, count: int) -> Rows:
    """`count` rows, evenly spaced over a file that may be long, with its first and its last."""
    try:
        with (files.folder / path).open("rb") as file:
            filled = [index for index, line in enumerate(file) if line.strip()]
    except OSError:
        filled = []
    last = len(filled) - 1
    chosen = filled if last < count else [filled[round(index * last / (count - 1))] for index in range(count)]
    return Rows(list(_lines(files, path, set(chosen))), len(filled))


def _sweep(document: Any) -> dict[str, Any]:
    """The sweep's record; a bare list is its trials."""
    record = {"trials": document} if isinstance(document, list) else mapping(document)
    trials = record.get("trials")
    if not isinstance(trials, list):
        return {}
    return {**record, "trials": [trial for trial in trials if isinstance(trial, dict)]}


def is_number(value: Any) -> bool:
    """Whether a value from a file is a number; JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
