"""Rows with several scores of an answer, or with its class: reading them, and the names of the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from autotrain_llm.data.example import Example
from autotrain_llm.data.formats.cells import Cells
from autotrain_llm.data.observations import Observations, RowUnusable
from autotrain_llm.data.rules.scores import (
    every_row_has_all_scores,
    every_score_varies,
    the_classes_are_as_many_as_the_labels,
    the_columns_of_scores_are_as_many_as_the_labels,
)
from autotrain_llm.data.wording import number_of


class GradedAs(NamedTuple):
    """The names of the scores of rows, in order; or of their classes."""

    labels: tuple[str, ...]
    classes: bool


class GradeReader:
    """Reads the scores or the class of each row. `labels` are the names of the scores; those of classes are known when all rows are read.
    Evaluation rows are read `like` those that are trained on: their scores have the same names, in whatever order."""

    def __init__(self, columns: dict[str, str], num_labels: int, like: GradedAs | None = None) -> None:
        self.columns, self.num_labels, self.like = columns, num_labels, like
        self.of_columns = [role for role in columns if role.startswith("score ")]
        self.labels = tuple(columns[role] for role in self.of_columns)
        if like is not None and not like.classes:
            if self.of_columns and set(self.labels) == set(like.labels):
                self.of_columns.sort(key=lambda role: like.labels.index(columns[role]))
            self.labels = like.labels

    @property
    def graded_as(self) -> GradedAs:
        """How the rows that were read are graded."""
        return GradedAs(self.labels, "class" in self.columns)

    def read(self, example: Example, cells: Cells) -> None:
        """Set the example's scores or its class. Raises RowUnusable."""
        if self.like is not None and self.like.classes != self.graded_as.classes:
            column = next(iter(self.columns[role] for role in ("class", "scores", *self.of_columns) if role in cells))
            raise RowUnusable(every_row_has_all_scores, "kind", column=column, case="kind", found=self.like.classes)
        if "class" in cells:
            value = cells.take("class")
            if value is None:
                raise RowUnusable(every_row_has_all_scores, "missing", column=self.columns["class"], case="missing")
            example.class_name = f"{value:g}" if isinstance(value, float) else str(value).strip()
        elif "scores" in cells:
            example.scores = self._of_one_cell(cells.take("scores"))
        else:
            names = tuple(self.columns[role] for role in self.of_columns)
            if self.like is not None and names != self.labels:
                facts = {"column": names[0], "content": names, "names": self.labels}
                raise RowUnusable(every_row_has_all_scores, "keys", case="keys", **facts)
            example.scores = [self._number(cells.take(role), self.columns[role]) for role in self.of_columns]

    def _of_one_cell(self, value: Any) -> list[float]:
        column = self.columns["scores"]
        if value is None:
            raise RowUnusable(every_row_has_all_scores, "missing", column=column, case="missing")
        if isinstance(value, dict):
            self.labels = self.labels or tuple(value)
            if set(value) != set(self.labels):
                facts = {"content": list(value), "names": self.labels}
                raise RowUnusable(every_row_has_all_scores, "keys", column=column, case="keys", **facts)
            value = [value[name] for name in self.labels]
        self.labels = self.labels or tuple(f"score_{at}" for at in range(1, self.num_labels + 1))
        if len(value) != self.num_labels:
            sizes = {"found": len(value), "num_labels": self.num_labels}
            raise RowUnusable(every_row_has_all_scores, "count", column=column, case="count", **sizes)
        return [self._number(score, column) for score in value]

    def _number(self, value: Any, column: str) -> float:
        if value is None:
            raise RowUnusable(every_row_has_all_scores, "missing", column=column, case="missing")
        number = number_of(value)
        if number is None:
            raise RowUnusable(every_row_has_all_scores, "number", column=column, content=value)
        return number


def labels_of(reader: GradeReader, train: Sequence[Example], file: str, observations: Observations) -> tuple[str, ...]:
    """The names of the model's outputs, in order; reports numbers of scores or classes that don't match `--num-labels`."""
    num_labels = reader.num_labels
    if "class" not in reader.columns:
        if reader.of_columns and len(reader.labels) != num_labels:
            facts = {"columns": reader.labels, "num_labels": num_labels}
            observations.add(the_columns_of_scores_are_as_many_as_the_labels, file=file, **facts)
        else:
            _check_variation(reader.labels, train, file, observations)
        return reader.labels
    found = sorted({str(example.class_name) for example in train}, key=_order_of_class)
    numbers = [str(number) for number in range(num_labels)]
    if len(found) > 1 and set(found) <= set(numbers):
        return tuple(numbers)
    if len(found) != num_labels:
        facts = {"column": reader.columns["class"], "names": found, "num_labels": num_labels}
        observations.add(the_classes_are_as_many_as_the_labels, file=file, **facts)
    return tuple(found)


def _order_of_class(name: str) -> tuple[bool, float, str]:
    """Numbers by their size, then names."""
    number = number_of(name)
    return number is None, number or 0.0, name


def _check_variation(labels: Sequence[str], train: Sequence[Example], file: str, observations: Observations) -> None:
    first = train[0].scores or []
    varied = [False] * len(first)
    for example in train:
        varied = [was or one != other for was, one, other in zip(varied, first, example.scores or (), strict=True)]
    same = [label for label, varies in zip(labels, varied, strict=True) if not varies]
    if same and len(train) > 1:
        observations.add(every_score_varies, names=same, file=file)
