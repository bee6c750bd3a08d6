"""`open_data`: a request to a `Dataset` of converted rows, with everything that was found on the way."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.data.dataset import DATA_FLAG, EVAL_FLAG, Dataset, Progress
from autotrain_llm.data.disk_examples import DiskExamples, DiskExamplesWriter, keys_of
from autotrain_llm.data.example import Example
from autotrain_llm.data.files import hub
from autotrain_llm.data.files.locate import ALL_ROWS, Source, choose_split, locate
from autotrain_llm.data.files.read import ColumnTypes, Stream, Table, check_types
from autotrain_llm.data.files.stream import open_table
from autotrain_llm.data.formats.column_checks import (
    check_column_beside,
    check_columns,
    check_header,
    say_missing_columns,
    say_not_recognised,
)
from autotrain_llm.data.formats.convert import Converter
from autotrain_llm.data.formats.detect import ColumnMapping, Columns, recognise
from autotrain_llm.data.load.split import hold_out, rows_to_hold_out
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.quality.exact_duplicates import check_duplicates, check_overlap
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.wording import listed
from autotrain_llm.declare.finding import ERROR, WARNING, Finding, Refused
from autotrain_llm.declare.text import plural

VALID_SPLITS = ("validation", "test", "train", ALL_ROWS)
EACH = 1000  # rows between two words on how far it is


@dataclass
class _Reading:
    """What is carried along while a request is opened."""

    request: DataRequest
    progress: Progress | None = None
    observations: Observations = field(default_factory=Observations)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    files: list[str] = field(default_factory=list)
    cut_short: bool = False


def open_data(request: DataRequest, progress: Progress | None = None) -> Dataset:
    """Find, read, recognise, convert and split. Raises Refused with all findings where nothing can be trained on.

    `progress` hears how many rows of large files were read.
    """
    reading = _Reading(request, progress)
    reading.digest.update(json.dumps(request.settings(), sort_keys=True, default=str).encode())
    if request.max_samples is not None and request.max_samples < 1:
        message = f"--max-samples {request.max_samples} leaves no rows"
        reading.observations.say("D118", message, changes={"max_samples": 100}, parameters=("max_samples",))
        raise Refused(reading.observations.findings())
    with _nothing_collected():
        tables, valid_tables = _tables(reading)
        mapping = _column_mapping(reading, tables, DATA_FLAG)
        if mapping is None:
            raise Refused(reading.observations.findings())
        train = _converted(reading, mapping, tables, DATA_FLAG)
    if not train:
        _refuse_all(reading, tables)
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
    _evaluation(reading, dataset, mapping, valid_tables)
    if mapping.format == "prompt/completion/label":
        _say_one_label(reading, dataset, listed(table.file for table in tables))
    check_duplicates(dataset.train, listed(table.file for table in tables), reading.observations)
    dataset.findings = reading.observations.findings()
    dataset.files = tuple(reading.files)
    dataset.cut_short = reading.cut_short
    dataset.fingerprint = reading.digest.hexdigest()
    return dataset


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Inside it the garbage collector rests: rows hold no circles, and it would go through all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _tables(reading: _Reading) -> tuple[list[Table], list[Table] | None]:
    """The tables to train on, and those of a validation split where one was named."""
    request, observations = reading.request, reading.observations
    source = locate(request.path, observations)
    if source is None:
        raise Refused(observations.findings())
    splits = _hub_splits(reading, source, DATA_FLAG)
    tables = _read_split(reading, source, splits, request.train_split, "--train-split", DATA_FLAG, request.max_samples)
    valid = None
    if request.valid_split is not None and is_split_name(request.valid_split):
        valid = _read_split(reading, source, splits, request.valid_split, "--valid-split", DATA_FLAG, None)
    if not any(table.first() for table in tables) or valid == []:
        raise Refused(_with_an_error(reading, tables))
    return tables, valid


def _with_an_error(reading: _Reading, tables: list[Table]) -> tuple[Finding, ...]:
    if not reading.observations.refused:
        name = listed(table.file for table in tables) or reading.request.path
        reading.observations.say("D118", f"{name} holds no rows", file=name, parameters=("data_path",))
    return reading.observations.findings()


def _hub_splits(reading: _Reading, source: Source, flag: str) -> dict[str, Any]:
    if source.hub_id is None:
        return {}
    splits = hub.load_splits(source.hub_id, reading.request, reading.observations, flag)
    if not splits:
        raise Refused(reading.observations.findings())
    return splits


def _read_split(
    reading: _Reading,
    source: Source,
    splits: dict[str, Any],
    wanted: str,
    flag: str,
    data_flag: str,
    most: int | None,
) -> list[Table]:
    """The tables of one split, with together the first `most` rows."""
    most = _least(most, reading.request.most_rows)
    if source.hub_id is not None:
        return _read_hub_split(reading, source, splits, wanted, flag, most)
    tables: list[Table] = []
    paths = choose_split(source, wanted, reading.observations, flag, data_flag)
    for path in paths:
        left = None if most is None else most - sum(len(table.rows) for table in tables)
        if left == 0:
            break
        name = source.shown(path)
        reading.files.append(str(path))
        others = [other for other in paths if other is not path]
        tables.append(open_table(path, name, reading.observations, reading.digest, left, beside=others))
    return tables


def _least(*limits: int | None) -> int | None:
    """The strictest of some limits; one that no file can reach is none."""
    return min((limit for limit in limits if limit is not None and limit < sys.maxsize), default=None)


def _read_hub_split(
    reading: _Reading, source: Source, splits: dict[str, Any], wanted: str, flag: str, most: int | None
) -> list[Table]:
    if wanted not in splits:
        message = f"{source.name} has no split {wanted!r} ({flag}); it has: {listed(splits)}"
        parameters = (flag.removeprefix("--").replace("-", "_"),)
        reading.observations.say("D108", message, changes={parameters[0]: next(iter(splits))}, parameters=parameters)
        return []
    reading.files.append(f"{source.hub_id}/{wanted}")
    reading.digest.update(hub.fingerprint_of(splits[wanted]))
    return [hub.table_of(splits[wanted], f"{source.name}/{wanted}", most)]


def _column_mapping(reading: _Reading, tables: list[Table], flag: str) -> ColumnMapping | None:
    """The layout of the tables, or None with a finding."""
    columns = Columns(cells for table in tables for _, _, cells in table.first())
    name = listed(table.file for table in tables)
    if say_missing_columns(columns, reading.request, name, reading.observations, flag):
        check_header(columns, None, name, reading.observations)
        return None
    mapping = recognise(columns, reading.request)
    if not any(reading.request.is_named(field) for field in COLUMN_FLAGS):
        check_header(columns, mapping, name, reading.observations)
    if mapping is None:
        say_not_recognised(columns, reading.request, name, reading.observations, flag)
        return None
    check_columns(columns, mapping, reading.request, name, reading.observations)
    if flag == DATA_FLAG:
        check_column_beside(columns, mapping, reading.request, name, reading.observations)
    return mapping


def _converted(reading: _Reading, mapping: ColumnMapping, tables: list[Table], flag: str) -> Sequence[Example]:
    """The Examples of some tables: those of large files on disk, and all where any is large."""
    converter = Converter(mapping, reading.request, reading.observations, flag)
    examples: Sequence[Example]
    if any(isinstance(table.rows, Stream) for table in tables):
        wanted = reading.request.max_samples if flag == DATA_FLAG else None
        examples = _spooled(reading, converter, tables, _least(wanted, reading.request.most_rows))
    else:
        examples = []
        for table in tables:
            examples += converter.convert(table)
            check_types(table, converter.used, reading.observations)
    allowed = reading.request.most_rows
    reading.cut_short |= allowed is not None and sum(len(table.rows) for table in tables) >= allowed
    return examples


def _spooled(reading: _Reading, converter: Converter, tables: list[Table], most: int | None) -> DiskExamples:
    """The Examples of the first `most` rows, on disk. How many rows a large file has is known when it was gone through."""
    spool, read = DiskExamplesWriter(), 0
    for table in tables:
        types = ColumnTypes(table.file, converter.used, reading.observations)
        for raw in table.rows:
            if read == most:
                break
            types.look(raw)
            example = converter.converted(table.file, raw)
            if example is not None:
                spool.add(example)
            read += 1
            if reading.progress is not None and not read % EACH:
                reading.progress("Reading rows", read, 0)
    return spool.stored()


def _refuse_all(reading: _Reading, tables: list[Table]) -> None:
    """Every row was left out: what was a warning about a row is now why nothing can be trained."""
    rows = sum(len(table.rows) for table in tables)
    name = listed(table.file for table in tables)
    found = [f.replace(severity=ERROR) if f.row else f for f in reading.observations.findings()]
    message = f"{name}: none of the {plural(rows, 'row')} can be trained on"
    raise Refused([*found, Finding(message, None, ("data_path",), file=name, code="D118")])


def _evaluation(reading: _Reading, dataset: Dataset, mapping: ColumnMapping, valid_tables: list[Table] | None) -> None:
    """Fill the evaluation rows: from a data set of their own, a named split, or rows held out."""
    request = reading.request
    if request.eval_path is not None:
        with reading.observations.about("eval_dataset_path"):
            dataset.valid = _from_eval_path(reading, dataset)
        dataset.valid_from = f"{EVAL_FLAG} {request.eval_path}"
        check_overlap(dataset.train, dataset.valid, EVAL_FLAG, reading.observations)
    elif valid_tables is not None:
        dataset.valid = _converted(reading, mapping, valid_tables, "--valid-split")
        dataset.valid_from = f"the split {request.valid_split}"
        if not dataset.valid:
            _say_empty(
                reading,
                listed(table.file for table in valid_tables),
                f"--valid-split {request.valid_split}",
                "valid_split",
            )
        check_overlap(dataset.train, dataset.valid, "--valid-split", reading.observations)
    elif request.valid_split is not None:
        _hold_out(reading, dataset, request.valid_split)


def _hold_out(reading: _Reading, dataset: Dataset, valid_split: str) -> None:
    rows = len(dataset.train)
    count = rows_to_hold_out(valid_split, rows) or 0
    if 0 < count < rows:
        train, valid = hold_out(dataset.train, count, reading.request.seed)
        if train and valid:
            dataset.train, dataset.valid = train, valid
            dataset.valid_from = f"--valid-split {valid_split}"
            return
    message = f"--valid-split {valid_split} can't be held out of {plural(rows, 'row')}"
    fix = f"give evaluation rows of their own: {EVAL_FLAG} ./eval.jsonl"
    share = _that_can_be_held_out(reading, dataset)
    if share is None and rows > 1:
        message += ", which are all the same" if len(set(keys_of(dataset.train))) == 1 else ""
    changes = {"valid_split": share} if share is not None else {}
    reading.observations.say("D129", message, fix=fix, changes=changes, parameters=("valid_split",))


def _that_can_be_held_out(reading: _Reading, dataset: Dataset) -> float | None:
    """A share or a number of rows that leaves rows on both sides; None where there is none, as where all rows are the same."""
    rows = len(dataset.train)
    for share in (0.1, 1, 0.5, rows - 1):
        count = rows_to_hold_out(str(share), rows) or 0
        if (
            0 < count < rows
            and (share >= 1 or rows >= 10)
            and all(hold_out(dataset.train, count, reading.request.seed))
        ):
            return share
    return None


def _from_eval_path(reading: _Reading, dataset: Dataset) -> Sequence[Example]:
    """The rows of a data set that is there for evaluation only."""
    request, observations = reading.request, reading.observations
    source = locate(str(request.eval_path), observations, EVAL_FLAG)
    if source is None:
        return []
    splits = _hub_splits(reading, source, EVAL_FLAG)
    there = splits or source.splits
    named = request.valid_split if request.valid_split is not None and is_split_name(request.valid_split) else None
    wanted = named or next((split for split in VALID_SPLITS if split in there), next(iter(there)))
    if source.single or wanted == ALL_ROWS:
        wanted = "train"
    tables = _read_split(reading, source, splits, wanted, "--valid-split", EVAL_FLAG, None)
    mapping = _column_mapping(reading, tables, EVAL_FLAG) if any(table.first() for table in tables) else None
    valid = _converted(reading, mapping, tables, EVAL_FLAG) if mapping is not None else []
    if mapping is not None:
        dataset.valid_format = mapping.format
        if reading.request.rows == "conversations" and (mapping.format == "text") != (dataset.format == "text"):
            _say_other_kind(reading, dataset, mapping)
    if not valid and (mapping is not None or not any(table.first() for table in tables)):
        _say_empty(reading, source.name, EVAL_FLAG, "eval_dataset_path")
    return valid


def _say_other_kind(reading: _Reading, dataset: Dataset, mapping: ColumnMapping) -> None:
    """Rows to train on that are answers, and rows to evaluate on that are plain text, or the other way round."""
    message = (
        f"{EVAL_FLAG} {reading.request.eval_path} is read as {mapping.format}, and --data-path {dataset.path} as {dataset.format}: "
        "what is measured is not what is learnt"
    )
    fix = f"write both in one shape: {dataset.format}"
    reading.observations.say("D134", message, fix=fix, severity=WARNING, parameters=("eval_dataset_path", "data_path"))


def _say_one_label(reading: _Reading, dataset: Dataset, name: str) -> None:
    """A warning where all answers are good, or all bad."""
    labels = {example.label for example in dataset.train}
    if len(labels) == 1 and len(dataset.train) > 1 and not reading.observations.refused:
        label = "true" if labels == {True} else "false"
        message = f"{name}: all {len(dataset.train)} answers have the label {label}: there is nothing to tell them from"
        fix = "add answers of the other kind, or --trainer sft, which learns good answers"
        reading.observations.say("D135", message, fix=fix, severity=WARNING, file=name, parameters=("data_path",))


def _say_empty(reading: _Reading, name: str, flag: str, parameter: str) -> None:
    message = f"{flag}: {name} is empty: no row of it can be evaluated"
    reading.observations.say(
        "D121", message, fix="give evaluation rows that hold text", file=name, parameters=(parameter,)
    )


def is_split_name(valid_split: str) -> bool:
    """Whether `--valid-split` names a split rather than a share or a number of rows."""
    return rows_to_hold_out(valid_split, 1) is None
