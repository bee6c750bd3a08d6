"""The tables of a request: find its files, or its set on the Hub, and read the rows that are wanted of each split."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


def read_tables(reading: Reading) -> tuple[list[Table], list[Table] | None]:
    """The tables to train on, and those of a validation split where one was named."""
    request, observations = reading.request, reading.observations
    source = locate(request.path, observations)
    if source is None:
        raise Refused(observations.findings())
    splits = hub_splits(reading, source, DATA_FLAG)
    tables = read_split(reading, source, splits, request.train_split, "--train-split", DATA_FLAG, request.max_samples)
    valid = None
    if request.valid_split is not None and is_split_name(request.valid_split):
        valid = read_split(reading, source, splits, request.valid_split, "--valid-split", DATA_FLAG, None)
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


def hub_splits(reading: Reading, source: Source, flag: str) -> dict[str, Any]:
    if source.hub_id is None:
        return {}
    request = reading.request
    limited = request.max_samples is not None or request.most_rows is not None
    splits = hub.load_splits(source.hub_id, request, reading.observations, flag, streamed=limited)
    if not splits:
        raise Refused(reading.observations.findings())
    return splits


def read_split(
    reading: Reading, source: Source, splits: dict[str, Any], split: str, flag: str, data_flag: str, most: int | None
) -> list[Table]:
    """The tables of one split, with together `most` rows, chosen by the seed; where only the first rows are checked, or a run streams, the first."""
    request = reading.request
    if most is None or request.streaming or request.most_rows is not None:
        return _first_of_split(reading, source, splits, split, flag, data_flag, least(most, request.most_rows))
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


def least(*limits: int | None) -> int | None:
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


def is_split_name(valid_split: str) -> bool:
    """Whether `--valid-split` names a split rather than a share or a number of rows."""
    return rows_to_hold_out(valid_split, 1) is None
