"""Rows of a prepared folder to Examples: nothing is recognised or judged again, so that they are exactly those that were written."""

from __future__ import annotations

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.example import Example
from autotrain_llm.data.files.read import RawRow, Table
from autotrain_llm.data.formats.graded import GradedAs
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.prepared.info import PreparedFolder, PreparedInfo, prepared_folder
from autotrain_llm.data.prepared.rows import LABELLED, PARTS, example_of
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.rules.prepared import prepared_rows_were_changed, the_prepared_evaluation_rows_are_not_used

# The role of the column that a field of the request names, for each shape that has it.
ROLES = {"text_column": ("chosen", "completion", "messages", "text", "input_ids"), "prompt_column": ("prompt",),
         "rejected_column": ("rejected",)}  # fmt: skip


def prepared_rows_of(request: DataRequest, observations: Observations) -> PreparedFolder | None:
    """The prepared folder that a request names, if its rows are what this trainer reads; None if they have to be read like any others."""
    prepared = prepared_folder(request.path)
    if prepared is None or not _fits(prepared.info, request):
        return None
    changed = prepared.changed_files()
    if changed:
        observations.add(prepared_rows_were_changed, folder=request.path, files=changed)
        return None
    uses_them = request.eval_path is None and request.valid_split in prepared.info.splits
    if prepared.has_validation and not uses_them and (request.eval_path or request.valid_split):
        flag = (
            f"--eval-dataset-path {request.eval_path}" if request.eval_path else f"--valid-split {request.valid_split}"
        )
        observations.add(the_prepared_evaluation_rows_are_not_used, folder=request.path, flag=flag)
    return prepared


def _fits(info: PreparedInfo, request: DataRequest) -> bool:
    """Whether the rows were prepared for this shape of rows, and no flag asks for other columns."""
    if info.rows != request.rows or (info.shape == LABELLED and not TRAINERS[request.trainer].parts_pairs):
        return False
    if request.rows == "graded" and len(info.labels) != request.num_labels:
        return False
    if request.train_split not in info.splits or request.context_columns:
        return False
    named = {field: getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)}
    return all(any(info.columns.get(role) == column for role in ROLES[field]) for field, column in named.items())


class PreparedRows:
    """Converts the rows of a prepared folder; it has the methods of a `Converter`."""

    def __init__(self, info: PreparedInfo, request: DataRequest) -> None:
        self.info, self.request = info, request
        self.used = set(PARTS)
        self.account = self

    @property
    def graded_as(self) -> GradedAs:
        """The names of the scores or classes."""
        return GradedAs(self.info.labels, "class_name" in self.info.columns)

    def convert(self, table: Table) -> list[Example]:
        """The Examples of a table."""
        return [self.converted(table.file, row) for row in table.rows]

    def converted(self, file: str, raw: RawRow) -> Example:
        """The Example of one row."""
        number, line, row = raw
        return example_of(file, number, line, row, self.info.renamed)

    def observe(self, file: str, already: frozenset[str] = frozenset(), answering: object = None) -> None:
        """What is not used was reported when the rows were prepared."""

    def unused(self) -> dict[str, str]:
        """The columns that no part of a row is made of, with the reason."""
        return dict(self.info.unused)
