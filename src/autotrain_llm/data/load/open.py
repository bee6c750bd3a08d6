"""`open_data`: find, read and convert the rows that a request asks for. Returns a `Dataset` and its findings."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from autotrain_llm.data.dataset import DATA_FLAG, EVAL_FLAG, Dataset, Progress
from autotrain_llm.data.disk_examples import DiskExamples, DiskExamplesWriter, keys_of
from autotrain_llm.data.example import Example
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.locate import ALL_ROWS
from autotrain_llm.data.files.read import ColumnTypes, Stream, Table
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.convert import Converter
from autotrain_llm.data.formats.detect import GRADED
from autotrain_llm.data.formats.graded import GradedAs, labels_of
from autotrain_llm.data.formats.proposals import answering
from autotrain_llm.data.formats.token_rows import TOKENS
from autotrain_llm.data.load.recognise import column_mapping
from autotrain_llm.data.load.split import hold_out, possible_share, rows_to_hold_out
from autotrain_llm.data.load.tables import Reading, Split, find_source, is_split_name, least, read_split, read_tables
from autotrain_llm.data.observations import Observations, findings_of
from autotrain_llm.data.prepared.convert import PreparedRows, prepared_rows_of
from autotrain_llm.data.quality.exact_duplicates import check_duplicates, check_overlap
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.files import there_are_no_rows
from autotrain_llm.data.rules.preferences import all_answers_have_the_same_label
from autotrain_llm.data.rules.scores import a_class_is_only_evaluated
from autotrain_llm.data.rules.splits import (
    evaluation_rows_have_another_format,
    no_row_can_be_evaluated,
    valid_split_asks_for_too_many_rows,
)
from autotrain_llm.data.wording import listed
from autotrain_llm.declare.finding import ERROR, Refused

VALID_SPLITS = ("validation", "test", "train", ALL_ROWS)
BY_TURNS = "texts taken as turns of user and assistant, the user first"
CALLS = "answers that are calls of tools"
EACH = 1000  # rows between two calls of `progress`


def open_data(request: DataRequest, progress: Progress | None = None) -> Dataset:
    """Find, read, recognise, convert and split the rows. Raises Refused with all findings if nothing can be trained on. `progress` is
    called with the number of rows of large files that were read."""
    reading = Reading(request, progress, keep=RowFilter(request.where) if request.where else None)
    observations = reading.observations
    reading.digest.update(json.dumps(request.settings(), sort_keys=True, default=str).encode())
    if request.max_samples is not None and request.max_samples < 1:
        observations.add(there_are_no_rows, name=request.path, case="max_samples", rows=request.max_samples)
        raise Refused(observations.findings())
    reading.prepared = prepared_rows_of(request, observations)
    with _no_garbage_collection():
        tables, valid_tables = read_tables(reading)
        mapping, tables = column_mapping(reading, tables, DATA_FLAG)
        if mapping is None:
            raise Refused(observations.findings())
        prepared = reading.prepared
        converter = PreparedRows(prepared.info, request) if prepared else Converter(mapping, request, observations)
        train = _converted(reading, converter, tables, DATA_FLAG)
    name = listed(table.file for table in tables)
    if not train:
        # Every row was left out: what was a warning about a row is now why nothing can be trained.
        rows = sum(len(table.rows) for table in tables)
        reasons = [f.replace(severity=ERROR) if f.row else f for f in observations.findings()]
        raise Refused([*reasons, *findings_of(there_are_no_rows, name=name, case="all left out", rows=rows)])
    dataset = Dataset(
        mapping.format,
        mapping.columns,
        train,
        [],
        (),
        tuple(reading.files),
        "",
        request.path,
        request.rows,
        eval_path=request.eval_path,
    )
    columns = Columns(cells for table in tables if not isinstance(table.rows, Stream) for _, _, cells in table.first())
    offer = partial(answering, columns, request, mapping.columns.get("text", "")) if columns.rows else None
    converter.account.observe(name, reading.reported, offer)
    dataset.unused = converter.account.unused()
    dataset.held_out = reading.held_out
    dataset.turns = BY_TURNS if mapping.alternating else CALLS if mapping.calls else None
    dataset.wrapper, dataset.first_choice = tables[0].wrapper, mapping.first_choice
    _evaluation(reading, dataset, converter, valid_tables)
    if mapping.format == "prompt/completion/label" and len(dataset.train) > 1 and not observations.refused:
        labels = {example.label for example in dataset.train}
        if len(labels) == 1:
            facts = {"answers": len(dataset.train), "label": labels.pop()}
            observations.add(all_answers_have_the_same_label, file=name, **facts)
    if mapping.format == GRADED and not observations.refused:
        if isinstance(converter, Converter):
            dataset.labels = labels_of(converter.grades, dataset.train, name, observations)
        else:
            dataset.labels = converter.graded_as.labels
        _check_classes(dataset, observations)
    check_duplicates(dataset.train, name, observations)
    dataset.findings = observations.findings()
    dataset.files = tuple(reading.files)
    dataset.cut_short = reading.cut_short
    if reading.prepared is not None:  # the files and the flags that they were read with change nothing about them
        reading.digest = hashlib.blake2b(f"prepared {request.rows}".encode(), digest_size=16)
    # What the rows became is part of it, so that prepared rows of another way of converting are never reused.
    for examples in (dataset.train, dataset.valid):
        reading.digest.update(keys_of(examples).tobytes())
    dataset.fingerprint = reading.digest.hexdigest()
    return dataset


def _check_classes(dataset: Dataset, observations: Observations) -> None:
    """Evaluation rows of a class that no training row has."""
    for example in dataset.valid:
        if example.class_name is not None and example.class_name not in dataset.labels:
            observations.row(a_class_is_only_evaluated, example, name=example.class_name)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Garbage collection off: rows hold no reference cycles, and each collection would go through all of them again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _converted(
    reading: Reading, converter: Converter | PreparedRows, tables: list[Table], flag: str
) -> Sequence[Example]:
    """The Examples of some tables: those of large files on disk, and all where any is large."""
    examples: Sequence[Example]
    if any(isinstance(table.rows, Stream) for table in tables):
        most = reading.request.max_samples if flag == DATA_FLAG else None
        examples = _on_disk(reading, converter, tables, least(most, reading.request.most_rows))
    else:
        examples = []
        for table in tables:
            examples += converter.convert(table)
            types = ColumnTypes(table.file, converter.used, reading.observations)
            for row in table.rows:
                types.look(row)
    allowed = reading.request.most_rows
    reading.cut_short |= allowed is not None and sum(len(table.rows) for table in tables) >= allowed
    return examples


def _on_disk(
    reading: Reading, converter: Converter | PreparedRows, tables: list[Table], most: int | None
) -> DiskExamples:
    """The Examples of the first `most` rows, on disk. How many rows a large file has is known when it was gone through."""
    writer, read = DiskExamplesWriter(), 0
    for table in tables:
        types = ColumnTypes(table.file, converter.used, reading.observations)
        for raw in table.rows:
            if read == most:
                break
            types.look(raw)
            example = converter.converted(table.file, raw)
            if example is not None:
                writer.add(example)
            read += 1
            if reading.progress is not None and not read % EACH:
                reading.progress("Reading rows", read, 0)
    return writer.stored()


def _evaluation(
    reading: Reading, dataset: Dataset, converter: Converter | PreparedRows, valid_tables: list[Table] | None
) -> None:
    """Fill the evaluation rows: from a separate data set, a named split, or rows held out."""
    request, observations = reading.request, reading.observations
    if request.eval_path is not None:
        with observations.about("eval_dataset_path"):
            dataset.valid = _from_eval_path(reading, dataset, converter.graded_as)
        dataset.valid_from = f"{EVAL_FLAG} {request.eval_path}"
        check_overlap(dataset.train, dataset.valid, EVAL_FLAG, observations)
    elif valid_tables is not None:
        with observations.about("valid_split"):
            tables = valid_tables
            for change in reading.reshaping:
                tables = [change(table) for table in tables]
            dataset.valid = _converted(reading, converter, tables, "--valid-split")
        dataset.valid_from = f"the split {request.valid_split}"
        if not dataset.valid:
            name, flag = (listed(table.file for table in valid_tables), f"--valid-split {request.valid_split}")
            observations.add(no_row_can_be_evaluated, source=flag, name=name, parameter="valid_split")
        check_overlap(dataset.train, dataset.valid, "--valid-split", observations)
    elif request.valid_split is not None:
        _hold_out(reading, dataset, request.valid_split)


def _hold_out(reading: Reading, dataset: Dataset, valid_split: str) -> None:
    rows, seed = len(dataset.train), reading.request.seed
    count = rows_to_hold_out(valid_split, rows) or 0
    if 0 < count < rows:
        train, valid = hold_out(dataset.train, count, seed)
        if train and valid:
            dataset.train, dataset.valid = train, valid
            dataset.valid_from = f"--valid-split {valid_split}"
            return
    share = possible_share(dataset.train, seed)
    all_the_same = share is None and rows > 1 and len(set(keys_of(dataset.train))) == 1
    is_more = share is not None and (rows_to_hold_out(str(share), rows) or 0) > count
    facts = {"valid_split": valid_split, "rows": rows, "all_the_same": all_the_same, "share": share, "is_more": is_more}
    reading.observations.add(valid_split_asks_for_too_many_rows, **facts)


def _from_eval_path(reading: Reading, dataset: Dataset, graded_as: GradedAs) -> Sequence[Example]:
    """The rows of the data set of `--eval-dataset-path`."""
    request, observations = reading.request, reading.observations
    source = find_source(reading, str(request.eval_path), EVAL_FLAG)
    if source is None:
        return []
    named = request.valid_split if request.valid_split is not None and is_split_name(request.valid_split) else None
    split = named or next((name for name in VALID_SPLITS if name in source.names), source.names[0])
    if source.single or split == ALL_ROWS:
        split = "train"
    tables = read_split(reading, Split(source, split, "--valid-split", EVAL_FLAG), None)
    has_rows = any(table.first() for table in tables)
    mapping, tables = column_mapping(reading, tables, EVAL_FLAG) if has_rows else (None, tables)
    valid: Sequence[Example] = []
    if mapping is not None:
        # Answers name the choices in the same way as in the training rows.
        mapping = dataclasses.replace(mapping, first_choice=dataset.first_choice)
        converter = Converter(mapping, request, observations, graded_as if mapping.format == GRADED else None)
        valid = _converted(reading, converter, tables, EVAL_FLAG)
        converter.account.observe(listed(table.file for table in tables), reading.reported | dataset.unused.keys())
        dataset.valid_format = mapping.format
        if request.rows == "conversations" and _kind_of(mapping.format) != _kind_of(dataset.format):
            formats = {"eval_format": mapping.format, "train_format": dataset.format}
            observations.add(
                evaluation_rows_have_another_format, eval_path=request.eval_path, path=dataset.path, **formats
            )
    if not valid and (mapping is not None or not has_rows):
        observations.add(no_row_can_be_evaluated, source=EVAL_FLAG, name=source.name, parameter="eval_dataset_path")
    return valid


def _kind_of(format_name: str) -> str:
    """What rows of a format are: text, tokens, or answers."""
    return format_name if format_name in ("text", TOKENS) else "answers"
