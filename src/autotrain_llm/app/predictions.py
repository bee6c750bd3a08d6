"""What a model answered in the evaluations of its run, row by row, and the search through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotrain_llm.declare.document import mapping, parse_json

PREDICTIONS = Path("eval", "predictions.jsonl")
MOST = 50  # rows that a page shows
MOST_READ = 64 * 2**20  # bytes of the file


@dataclass(frozen=True)
class Prediction:
    """One row: where it is from, what was asked, answered and expected, and its scores."""

    place: str
    prompt: str
    answer: str
    expected: str
    scores: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Predictions:
    """The first rows that have all words, how many have them, and how many there are."""

    shown: list[Prediction]
    matching: int
    total: int
    is_whole: bool  # whether all of the file was read


def predictions_of(folder: Path, words: str) -> Predictions:
    """The predictions of a run that have all of these words, in any case."""
    wanted = words.lower().split()
    shown: list[Prediction] = []
    matching = total = read = 0
    for row, size in _rows(folder / PREDICTIONS):
        read += size
        if read > MOST_READ:
            break
        total += 1
        prediction = _prediction(row)
        text = " ".join([prediction.place, prediction.prompt, prediction.answer, prediction.expected]).lower()
        if all(word in text for word in wanted):
            matching += 1
            if len(shown) < MOST:
                shown.append(prediction)
    return Predictions(shown, matching, total, read <= MOST_READ)


def _rows(path: Path) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The objects of the file, with the bytes of their lines; damaged lines are left out."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    row = mapping(parse_json(line.decode("utf-8", errors="replace")))
                except ValueError:
                    continue
                if row:
                    yield row, len(line)
    except OSError:
        return


def _prediction(row: Mapping[str, Any]) -> Prediction:
    from autotrain_llm.run.report.formatting import text
    from autotrain_llm.run.report.read import is_number, output_of

    shown = ("file", "row", "index", "prompt", "prediction", "completion", "answer", "reference")
    scores = [(name, f"{value:.4g}") for name, value in row.items() if is_number(value) and name not in shown]
    place = ", ".join(
        [*([str(row["file"])] if row.get("file") else []), *([f"row {row['row']}"] if "row" in row else [])]
    )
    return Prediction(place, text(row.get("prompt")), text(output_of(row)), text(row.get("reference")), tuple(scores))
