"""Evaluation rows with several scores are compared with the training rows' by the names of the scores, in whatever order they stand."""

from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from support.rows import write_rows

ROW = {"prompt": "Hi", "answer": "Hello"}
COLUMNS = [{**ROW, "help": 4, "length": 1}, {**ROW, "answer": "Go", "help": 0, "length": 2}]
OBJECTS = [{**ROW, "scores": {"help": 4, "length": 1}}, {**ROW, "scores": {"help": 0, "length": 2}}]
CLASSES = [{**ROW, "label": "good"}, {**ROW, "answer": "Go", "label": "bad"}]


def opened(folder: Path, train: list[dict[str, Any]], other: dict[str, Any]) -> Any:
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "eval.jsonl", [{**other, "prompt": "Why"}])
    paths = {"path": str(folder / "train.jsonl"), "eval_path": str(folder / "eval.jsonl")}
    return open_data(DataRequest(**paths, rows="graded", trainer="reward", num_labels=2))


@pytest.mark.parametrize("train", [COLUMNS, OBJECTS])
@pytest.mark.parametrize("other", [{**ROW, "length": 9, "help": 3}, {**ROW, "scores": {"length": 9, "help": 3}}])
def test_scores_in_another_order_are_compared_by_name(train, other, tmp_path):
    dataset = opened(tmp_path, train, other)
    assert dataset.labels == ("help", "length") and dataset.valid[0].scores == [3, 9]


@pytest.mark.parametrize(
    ("train", "other", "words"),
    [
        (COLUMNS, {**ROW, "length": 9, "kind": 3}, "has the scores length, kind, and other rows have help, length"),
        (COLUMNS, CLASSES[0], "label has a class, and the rows that are trained on have scores"),
        (CLASSES, OBJECTS[0], "scores has scores, and the rows that are trained on have a class"),
    ],
)
def test_other_scores_are_named(train, other, words, tmp_path):
    dataset = opened(tmp_path, train, other)
    assert any(words in finding.message for finding in dataset.findings), dataset.findings
    assert not dataset.valid
