"""The tables of a request: find its files, or its set on the Hub, and read the rows that are wanted of each split."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from autotrain_llm.data.dataset import DATA_FLAG, Progress
from autotrain_llm.data.files import hub
from autotrain_llm.data.files.filter import RowFilter
from autotrain_llm.data.files.locate import OF_EVALUATION, Source, choose_split, locate
from autotrain_llm.data.files.read import Stream, Table
from autotrain_llm.data.files.stream import are_few, first_rows, open_table
from autotrain_llm.data.load.sample import sampled
from autotrain_llm.data.load.split import rows_to_hold_out
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.prepared.info import PreparedFolder
from autotrain_llm.data.request import DataRequest
from autotrain_llm.data.rules.files import the_data_has_no_such_split, there_are_no_rows
from autotrain_llm.data.rules.mixture import no_row_has_the_wanted_values
from autotrain_llm.data.wording import listed
from autotrain_llm.declare.finding import Refused


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


@dataclass(frozen=True)
class Split:
    """A split of a source, the flag that names it, and the flag that names the source."""

    source: Source
    name: str
    flag: str
    data_flag: str


def read_tables(reading: Reading) -> tuple[list[Table], list[Table] | None]:
    """The tables to train on, and those of a validation split where one was named."""
    request, observations = reading.request, reading.observations
    source = find_source(reading, request.path, DATA_FLAG)
    if source is None:
        raise Refused(observations.findings())
    split = Split(source, request.train_split, "--train-split", DATA_FLAG)
    tables = read_split(reading, split, request.max_samples)
    valid = None
    if request.valid_split is not None and is_split_name(request.valid_split):
        valid = read_split(reading, Split(source, request.valid_split, "--valid-split", DATA_FLAG), None)
    elif request.valid_split is None and request.eval_path is None:
        beside = [name for name in OF_EVALUATION if name in source.names and name != request.train_split]
        reading.held_out = next(iter(beside), None)
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


def find_source(reading: Reading, path: str, flag: str) -> Source | None:
    """The source at a path, with the splits of a set on the Hub; None, with a finding, if there is nothing. Raises Refused if a set can't be loaded."""
    request, observations = reading.request, reading.observations
    source = locate(path, observations, flag)
    if source is not None and source.hub_id is not None:
        limited = request.max_samples is not None or request.most_rows is not None
        source.on_hub = hub.load_splits(source.hub_id, request, observations, flag, streamed=limited)
        if not source.on_hub:
            raise Refused(observations.findings())
    return source


def read_split(reading: Reading, split: Split, most: int | None) -> list[Table]:
    """The tables of one split, with together `most` rows, chosen by the seed; where only the first rows are checked, or a run streams, the first."""
    request, on_hub = reading.request, split.source.on_hub
    if most is None or request.streaming or request.most_rows is not None:
        return _first_of_split(reading, split, least(most, request.most_rows))
    if split.name in on_hub and hub.is_streamed(on_hub[split.name]):
        shuffled = on_hub | {split.name: hub.shuffled(on_hub[split.name], request.seed)}
        return _first_of_split(reading, replace(split, source=replace(split.source, on_hub=shuffled)), most)
    tables = _first_of_split(reading, split, None)
    tables = sampled(tables, _sizes(reading, split, tables), most, request.seed)
    return [table.in_memory() for table in tables] if are_few(most) else tables


def _sizes(reading: Reading, split: Split, tables: Sequence[Table]) -> list[int]:
    """The number of rows of each table of a split; files that are larger than memory are read once for it."""
    if not any(isinstance(table.rows, Stream) for table in tables):
        return [len(table.rows) for table in tables]
    request = reading.request
    again = Reading(request, keep=RowFilter(request.where) if request.where else None)
    return [sum(1 for _ in table.rows) for table in _first_of_split(again, split, None)]


def _first_of_split(reading: Reading, split: Split, most: int | None) -> list[Table]:
    """The tables of one split, with together the first `most` rows."""
    source, observations = split.source, reading.observations
    if source.hub_id is not None:
        return _first_on_hub(reading, split, most)
    tables: list[Table] = []
    paths = choose_split(source, split.name, observations, split.flag, split.data_flag)
    for path in paths:
        remaining = None if most is None else most - sum(len(table.rows) for table in tables)
        if remaining == 0:
            break
        name = source.shown(path)
        reading.files.append(str(path))
        if reading.request.streaming and split.flag == "--train-split":
            tables.append(first_rows(path, name, observations, remaining))
            continue
        others, size = [other for other in paths if other is not path], reading.request.bytes_beside
        digest, keep = reading.digest, reading.keep
        table = open_table(path, name, observations, digest, remaining, beside=others, bytes_beside=size, keep=keep)
        tables.append(table)
    return tables


def least(*limits: int | None) -> int | None:
    """The smallest of some limits; None if there is none. sys.maxsize counts as no limit."""
    return min((limit for limit in limits if limit is not None and limit < sys.maxsize), default=None)


def _first_on_hub(reading: Reading, split: Split, most: int | None) -> list[Table]:
    """The table of a split on the Hub, with the first `most` rows."""
    source, request, observations = split.source, reading.request, reading.observations
    rows, name = source.on_hub.get(split.name), f"{source.name}/{split.name}"
    if rows is None:
        facts = {"flag": split.flag, "split": split.name, "source": source.name, "available": source.names}
        observations.add(the_data_has_no_such_split, case="Hub", **facts)
        return []
    reading.files.append(f"{source.hub_id}/{split.name}")
    if hub.is_streamed(rows):
        observe = partial(hub.observe_fault, name=name, request=request, observations=observations, flag=split.flag)
        return [hub.streamed_table(rows, name, most, reading.keep, observe)]
    reading.digest.update(hub.fingerprint_of(rows))
    return [hub.table_of(rows, name, most, reading.keep, request.bytes_beside)]


def is_split_name(valid_split: str) -> bool:
    """Whether `--valid-split` names a split rather than a share or a number of rows."""
    return rows_to_hold_out(valid_split, 1) is None
