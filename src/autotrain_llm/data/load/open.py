"""`open_data`: find, read and convert the rows that a request asks for. Returns a `Dataset` and its findings."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import methodcaller
from typing import Any

from autotrain_llm.data.dataset import DATA_FLAG, EVAL_FLAG, Dataset, Progress
from autotrain_llm.data.disk_examples import DiskExamples, DiskExamplesWriter, keys_of
from autotrain_llm.data.example import Example
from autotrain_llm.data.files import hub
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.locate import ALL_ROWS, OF_EVALUATION, Source, choose_split, locate
from autotrain_llm.data.files.read import ColumnTypes, Stream, Table, unwrapped
from autotrain_llm.data.files.stream import are_few, first_rows, open_table
from autotrain_llm.data.formats.answer_lists import lists_of_answers
from autotrain_llm.data.formats.column_checks import (
    check_columns,
    check_header,
    check_named_columns,
    check_second_header,
    check_token_ids,
    check_turns_in_rows,
    check_unused_half,
    lacks_a_pair,
    observe_unrecognised,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.convert import Converter
from autotrain_llm.data.formats.detect import GRADED, ColumnMapping, nested_rows, recognise, takes_less, wrappers
from autotrain_llm.data.formats.graded import GradedAs, labels_of
from autotrain_llm.data.formats.judged import judged_answers
from autotrain_llm.data.formats.paths import lifted, value_at
from autotrain_llm.data.formats.proposals import answering
from autotrain_llm.data.formats.talks import exchange_in, talk_in, with_told_roles
from autotrain_llm.data.formats.token_rows import TOKENS
from autotrain_llm.data.load.sample import sampled
from autotrain_llm.data.load.split import hold_out, possible_share, rows_to_hold_out
from autotrain_llm.data.observations import Observations, findings_of
from autotrain_llm.data.prepared.convert import PreparedRows, prepared_rows_of
from autotrain_llm.data.prepared.info import PreparedFolder
from autotrain_llm.data.quality.exact_duplicates import check_duplicates, check_overlap
from autotrain_llm.data.request import COLUMN_FLAGS, SIDES, DataRequest
from autotrain_llm.data.rules.files import the_data_has_no_such_split, there_are_no_rows
from autotrain_llm.data.rules.mixture import no_row_has_the_wanted_values, the_rows_have_another_format
from autotrain_llm.data.rules.preferences import (
    all_answers_have_the_same_label,
    no_answer_is_judged_better,
    pairs_are_made_of_judged_answers,
)
from autotrain_llm.data.rules.scores import a_class_is_only_evaluated
from autotrain_llm.data.rules.splits import (
    evaluation_rows_have_another_format,
    no_row_can_be_evaluated,
    valid_split_asks_for_too_many_rows,
)
from autotrain_llm.data.turns import numbered_columns, with_turns_together
from autotrain_llm.data.wording import listed
from autotrain_llm.declare.finding import ERROR, Refused

VALID_SPLITS = ("validation", "test", "train", ALL_ROWS)
BY_TURNS = "texts taken as turns of user and assistant, the user first"
CALLS = "answers that are calls of tools"
EACH = 1000  # rows between two calls of `progress`


@dataclass
class Reading:
    """What is carried along while a request is opened."""

    request: DataRequest
    progress: Progress | None = None
    observations: Observations = field(default_factory=Observations)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    files: list[str] = field(default_factory=list)
    cut_short: bool = False
    reported: frozenset[str] = frozenset()  # columns that a finding says are not used
    keep: RowFilter | None = None
    held_out: str | None = None  # a split with evaluation rows that lies beside those that are read
    prepared: PreparedFolder | None = None  # the folder that the rows of the data path were prepared in
    reshaping: list[Callable[[Table], Table]] = field(
        default_factory=list
    )  # from tables as they were read to those that are converted

    def reshape(self, tables: list[Table], change: Callable[[Table], Table]) -> list[Table]:
        """The changed tables; the tables of an evaluation split are changed in the same way later."""
        self.reshaping.append(change)
        return [change(table) for table in tables]


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


def read_tables(reading: Reading) -> tuple[list[Table], list[Table] | None]:
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
    elif request.valid_split is None and request.eval_path is None:
        beside = source.splits if source.hub_id is None else splits
        reading.held_out = next(
            (split for split in OF_EVALUATION if split in beside and split != request.train_split), None
        )
    if not any(table.first() for table in tables) or valid == []:
        if not observations.refused:
            _observe_no_rows(reading, listed(table.file for table in tables) or request.path)
        raise Refused(observations.findings())
    return tables, valid


def _observe_no_rows(reading: Reading, name: str) -> None:
    """Report that there are no rows: none at all, or none with the wanted values."""
    keep = reading.keep
    if keep is None or not keep.seen:
        reading.observations.add(there_are_no_rows, name=name)
        return
    # A column without the wanted values, or the rows that have those of one column don't have those of another.
    lacking = next(
        (column for column, allowed in keep.where if allowed.isdisjoint(keep.values[column])), keep.where[0][0]
    )
    counts = keep.values[lacking]
    reading.observations.add(
        no_row_has_the_wanted_values,
        name=name,
        column=lacking,
        wanted=reading.request.where,
        values=tuple(value for value, _ in counts.most_common()),
        columns=tuple(keep.columns),
        rows=keep.seen,
    )


def _hub_splits(reading: Reading, source: Source, flag: str) -> dict[str, Any]:
    if source.hub_id is None:
        return {}
    request = reading.request
    limited = request.max_samples is not None or request.most_rows is not None
    splits = hub.load_splits(source.hub_id, request, reading.observations, flag, streamed=limited)
    if not splits:
        raise Refused(reading.observations.findings())
    return splits


def _read_split(
    reading: Reading, source: Source, splits: dict[str, Any], split: str, flag: str, data_flag: str, most: int | None
) -> list[Table]:
    """The tables of one split, with together `most` rows, chosen by the seed; where only the first rows are checked, or a run streams, the first."""
    request = reading.request
    if most is None or request.streaming or request.most_rows is not None:
        return _first_of_split(reading, source, splits, split, flag, data_flag, _least(most, request.most_rows))
    if source.hub_id is not None and hub.is_streamed(splits.get(split, ())):
        shuffled = {**splits, split: hub.shuffled(splits[split], request.seed)}
        return _read_hub_split(reading, source, shuffled, split, flag, most)
    tables = _first_of_split(reading, source, splits, split, flag, data_flag, None)
    tables = sampled(tables, _sizes(reading, source, splits, split, tables), most, request.seed)
    return [table.in_memory() for table in tables] if are_few(most) else tables


def _sizes(reading: Reading, source: Source, splits: dict[str, Any], split: str, tables: Sequence[Table]) -> list[int]:
    """The number of rows of each table of a split; files that are larger than memory are read once for it."""
    if not any(isinstance(table.rows, Stream) for table in tables):
        return [len(table.rows) for table in tables]
    request = reading.request
    again = Reading(request, keep=RowFilter(request.where) if request.where else None)
    others = _first_of_split(again, source, splits, split, "--train-split", DATA_FLAG, None)
    return [sum(1 for _ in table.rows) for table in others]


def _first_of_split(
    reading: Reading,
    source: Source,
    splits: dict[str, Any],
    split: str,
    flag: str,
    data_flag: str,
    most: int | None,
) -> list[Table]:
    """The tables of one split, with together the first `most` rows."""
    if source.hub_id is not None:
        return _read_hub_split(reading, source, splits, split, flag, most)
    tables: list[Table] = []
    paths = choose_split(source, split, reading.observations, flag, data_flag)
    for path in paths:
        remaining = None if most is None else most - sum(len(table.rows) for table in tables)
        if remaining == 0:
            break
        name = source.shown(path)
        reading.files.append(str(path))
        others = [other for other in paths if other is not path]
        size = reading.request.bytes_beside
        if reading.request.streaming and flag == "--train-split":
            tables.append(first_rows(path, name, reading.observations, remaining))
            continue
        table = open_table(
            path,
            name,
            reading.observations,
            reading.digest,
            remaining,
            beside=others,
            bytes_beside=size,
            keep=reading.keep,
        )
        tables.append(table)
    return tables


def _least(*limits: int | None) -> int | None:
    """The smallest of some limits; None if there is none. sys.maxsize counts as no limit."""
    return min((limit for limit in limits if limit is not None and limit < sys.maxsize), default=None)


def _read_hub_split(
    reading: Reading, source: Source, splits: dict[str, Any], split: str, flag: str, most: int | None
) -> list[Table]:
    if split not in splits:
        facts = {"flag": flag, "split": split, "source": source.name, "available": list(splits)}
        reading.observations.add(the_data_has_no_such_split, case="Hub", **facts)
        return []
    reading.files.append(f"{source.hub_id}/{split}")
    size, name = reading.request.bytes_beside, f"{source.name}/{split}"
    if hub.is_streamed(splits[split]):
        request, observations = reading.request, reading.observations
        observe = partial(hub.observe_fault, name=name, request=request, observations=observations, flag=flag)
        return [hub.streamed_table(splits[split], name, most, reading.keep, observe)]
    reading.digest.update(hub.fingerprint_of(splits[split]))
    return [hub.table_of(splits[split], name, most, reading.keep, size)]


def column_mapping(reading: Reading, tables: list[Table], flag: str) -> tuple[ColumnMapping | None, list[Table]]:
    """The mapping of the tables' columns, or None with a finding; and the tables, without an object that wraps each row."""
    request, observations = reading.request, reading.observations
    if reading.prepared is not None and flag == DATA_FLAG:
        info = reading.prepared.info
        return ColumnMapping(info.format, info.columns), tables
    columns = Columns(cells for table in tables for _, _, cells in table.first())
    name = listed(table.file for table in tables)
    if "messages" not in columns.values and any(len(numbered_columns(row)) > 1 for row in columns.rows):
        tables = reading.reshape(tables, methodcaller("changed", with_turns_together))
        columns = Columns(cells for table in tables for _, _, cells in table.first())
    paths = _paths_named(columns, request)
    if paths:
        tables = reading.reshape(tables, methodcaller("changed", partial(lifted, paths=paths)))
        columns = Columns(cells for table in tables for _, _, cells in table.first())
    named = {getattr(request, field) for field in SIDES}
    # A position in a stream of rows is that of a row as it was read, so that none of those can become several.
    while not request.streaming and (nested := nested_rows(columns)) not in (None, *named):
        tables = reading.reshape(tables, methodcaller("exploded", nested))
        if flag == DATA_FLAG and request.max_samples is not None:
            tables = _limited(tables, request.max_samples, request.seed)
        columns = Columns(cells for table in tables for _, _, cells in table.first())
    if request.rows in ("preferences", "scored") and not request.streaming:
        columns, tables = _with_each_answer(reading, columns, tables, name)
    mapping = recognise(columns, request) if _has_named(columns, request) else None
    if mapping is None and request.rows in ("preferences", "scored"):
        columns, mapping, tables = _with_pairs(reading, columns, tables, name)
    if mapping is None:
        columns, mapping, tables = _with_exchange(reading, columns, tables)
    if mapping is None or mapping.format == "text":
        for wrapper in wrappers(columns):
            inside = Columns(unwrapped(cells, wrapper) for cells in columns.rows)
            inner = recognise(inside, request) if _has_named(inside, request) else None
            is_half = inner is not None and inner.format == "text" and takes_less(columns, wrapper)
            if inner is not None and not is_half and (mapping is None or inner.format != "text"):
                columns, mapping = inside, inner
                tables = reading.reshape(tables, methodcaller("unwrapped", wrapper))
                break
    check_second_header(columns, name, observations)
    columns, mapping, tables = _with_turns(reading, columns, mapping, tables)
    if mapping is None and lacks_a_pair(columns, request):
        observe_unrecognised(columns, request, name, observations, flag)
        return None, tables
    if not check_named_columns(columns, request, name, observations, flag):
        check_header(columns, None, name, observations)
        return None, tables
    if not any(request.is_named(field) for field in SIDES):
        check_header(columns, mapping, name, observations)
    other = _other_format(columns, request) if mapping is None else None
    if other is not None:
        facts = {"file": name, "wanted": request.format, "recognised": other.format}
        observations.add(the_rows_have_another_format, **facts)
        return None, tables
    if mapping is None:
        observe_unrecognised(columns, request, name, observations, flag)
        return None, tables
    check_columns(columns, mapping, name, observations)
    check_turns_in_rows(columns, mapping, request, name, observations)
    check_token_ids(columns, mapping, request, name, observations)
    if flag == DATA_FLAG:
        reading.reported |= check_unused_half(columns, mapping, request, name, observations)
    return mapping, tables


def _with_exchange(
    reading: Reading, columns: Columns, tables: list[Table]
) -> tuple[Columns, ColumnMapping | None, list[Table]]:
    """The columns, their mapping and the tables, with the turns of a request and the turn that answers it as prompt and answer, wherever they lie."""
    request = reading.request
    exchange = exchange_in(columns) if not any(map(request.is_named, SIDES)) else None
    if exchange is None:
        return columns, None, tables
    inside = Columns(map(exchange.row, columns.rows))
    mapping = recognise(inside, replace(request, prompt_column=exchange.request, text_column=exchange.answer))
    if mapping is None:
        return columns, None, tables
    return (inside, mapping, reading.reshape(tables, methodcaller("changed", exchange.row)))


def _with_turns(
    reading: Reading, columns: Columns, mapping: ColumnMapping | None, tables: list[Table]
) -> tuple[Columns, ColumnMapping | None, list[Table]]:
    """The columns, their mapping and the tables, with turns that lie elsewhere in the rows where no format fits, and with the roles that all turns together
    tell."""
    request = reading.request
    talk = None
    if mapping is not None and "messages" in mapping.columns:
        talk = with_told_roles(columns, mapping.columns["messages"])
    elif mapping is None and _has_named(columns, request):
        talk = talk_in(columns, request.text_column or request.prompt_column)
    inside = Columns(map(talk.row, columns.rows)) if talk is not None else columns
    told = recognise(inside, request) if talk is not None else None
    if talk is None or told is None:
        return columns, mapping, tables
    return inside, told, reading.reshape(tables, methodcaller("changed", talk.row))


def _paths_named(columns: Columns, request: DataRequest) -> list[str]:
    """What the user named that is no column, and is inside objects of the rows, as `request.body` is."""
    fields = [getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)]
    named = dict.fromkeys([*fields, *request.context_columns])
    absent = [name for name in named if name not in columns.values]
    return [path for path in absent if any(value_at(row, path) is not None for row in columns.rows)]


def _other_format(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """The mapping of rows that have another format than the one that the request asks for."""
    return None if request.format is None else recognise(columns, dataclasses.replace(request, format=None))


def _limited(tables: list[Table], most: int, seed: int) -> list[Table]:
    """As many rows of tables that are in memory as are wanted, chosen by the seed."""
    if any(isinstance(table.rows, Stream) for table in tables):
        return tables
    return sampled(tables, [len(table.rows) for table in tables], most, seed)


def _with_each_answer(
    reading: Reading, columns: Columns, tables: list[Table], name: str
) -> tuple[Columns, list[Table]]:
    """The columns and tables, with a row for each of the answers where a cell has a list of them."""
    lists = lists_of_answers(columns, reading.request.text_column, reading.request.rejected_column)
    if lists is None:
        return columns, tables
    reading.observations.add(pairs_are_made_of_judged_answers, file=name, how=lists.how)
    tables = reading.reshape(tables, methodcaller("spread", lists.rows_of))
    return Columns(cells for table in tables for _, _, cells in table.first()), tables


def _with_pairs(
    reading: Reading, columns: Columns, tables: list[Table], name: str
) -> tuple[Columns, ColumnMapping | None, list[Table]]:
    """The columns, their mapping and the tables, with pairs made of judged answers; unchanged, without a mapping, if nothing judges them."""
    request = reading.request
    judged = judged_answers(columns, request.ignored_columns)
    if judged is None:
        return columns, None, tables
    paired = Columns(row for cells in columns.rows if (row := judged.pair(cells)) is not None)
    mapping = recognise(paired, request) if _has_named(paired, request) else None
    if mapping is None:
        return columns, None, tables
    reading.observations.add(pairs_are_made_of_judged_answers, file=name, how=judged.how)
    left_out = partial(reading.observations.row, no_answer_is_judged_better)
    tables = reading.reshape(tables, methodcaller("changed", judged.pair, left_out))
    return paired, dataclasses.replace(mapping, is_judged=True), tables


def _has_named(columns: Columns, request: DataRequest) -> bool:
    """Whether all columns that the user named are there."""
    return all(getattr(request, field) in columns.values for field in COLUMN_FLAGS if request.is_named(field))


def _converted(
    reading: Reading, converter: Converter | PreparedRows, tables: list[Table], flag: str
) -> Sequence[Example]:
    """The Examples of some tables: those of large files on disk, and all where any is large."""
    examples: Sequence[Example]
    if any(isinstance(table.rows, Stream) for table in tables):
        most = reading.request.max_samples if flag == DATA_FLAG else None
        examples = _on_disk(reading, converter, tables, _least(most, reading.request.most_rows))
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
    source = locate(str(request.eval_path), observations, EVAL_FLAG)
    if source is None:
        return []
    splits = _hub_splits(reading, source, EVAL_FLAG)
    available = splits or source.splits
    named = request.valid_split if request.valid_split is not None and is_split_name(request.valid_split) else None
    split = named or next((name for name in VALID_SPLITS if name in available), next(iter(available)))
    if source.single or split == ALL_ROWS:
        split = "train"
    tables = _read_split(reading, source, splits, split, "--valid-split", EVAL_FLAG, None)
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


def is_split_name(valid_split: str) -> bool:
    """Whether `--valid-split` names a split rather than a share or a number of rows."""
    return rows_to_hold_out(valid_split, 1) is None
