"""`RowStream`: training rows that are read while they are trained on, pass after pass, from any position on.

They are found, recognised and converted by the code that reads the first rows before a run, so that what is wrong with a row is reported in the same way.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from autotrain_llm.data.dataset import DATA_FLAG
from autotrain_llm.data.example import Example
from autotrain_llm.data.files import hub
from autotrain_llm.data.files.locate import choose_split, locate
from autotrain_llm.data.files.read import ColumnTypes, RawRow, Table
from autotrain_llm.data.files.stream import stream_of
from autotrain_llm.data.formats.convert import Converter
from autotrain_llm.data.load.recognise import column_mapping
from autotrain_llm.data.load.tables import Reading, read_tables
from autotrain_llm.data.observations import Observations, refuse_errors
from autotrain_llm.data.prepared.convert import PreparedRows, prepared_rows_of
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Finding, Refused


@dataclass(frozen=True)
class Position:
    """Where a process stands: in which pass through all rows (`passes` are complete), in which file, after which of its rows, and how many rows of the pass all
    processes have read. `state` is that of `datasets` for a set on the Hub."""

    passes: int = 0
    file: int = 0
    row: int = 0
    read: int = 0
    state: dict[str, Any] | None = None


class RowStream:
    """The rows of one of several `processes`: those of a file whose number leaves the remainder `process`, or those that `datasets` gives it of a set on the Hub.

    `request` is that of the first rows, which decide on the format; `most` is the number of rows of a pass, all if it is None. What is noticed of rows is noticed
    in the first pass. Raises Refused for what is wrong with a file or a row, as reading the first rows does.
    """

    def __init__(self, request: DataRequest, most: int | None, process: int = 0, processes: int = 1) -> None:
        self._request, self._most, self._process, self._processes = request, most, process, processes
        self._observations = Observations()
        first = Reading(dataclasses.replace(request, valid_split=None, eval_path=None))
        first.prepared = prepared_rows_of(request, first.observations)
        tables, _ = read_tables(first)
        mapping, _ = column_mapping(first, tables, DATA_FLAG)
        source = locate(request.path, first.observations)
        if mapping is None or source is None:
            raise Refused(first.observations.findings())
        self._reshaping, self._reported = first.reshaping, first.reported

        def converter(observations: Observations) -> Converter | PreparedRows:
            prepared = first.prepared
            return PreparedRows(prepared.info, request) if prepared else Converter(mapping, request, observations)

        self._unobserved = Observations()
        self._converters = [converter(self._observations), converter(self._unobserved)]
        self._split: Any = None
        if source.hub_id is None:
            paths = choose_split(source, request.train_split, first.observations, "--train-split")
            self._files = [(path, source.shown(path)) for path in paths]
        else:
            splits = hub.load_splits(source.hub_id, request, first.observations, DATA_FLAG, streamed=True)
            if not splits:
                raise Refused(first.observations.findings())
            self._split, self._name = splits[request.train_split], f"{source.name}/{request.train_split}"
        self._rows: Iterator[tuple[Position, Example | None]] | None = None
        self._live: Any = None  # the rows of `datasets` that are iterated over
        self._at = Position()
        self.read = self.left_out = 0

    def take(self, start: Position, most: int) -> tuple[list[Example], Position]:
        """The Examples of this process's next rows after a position, `most` at most and only those of one pass, and the position after them."""
        if self._rows is None or self._at != start:
            self._rows, self._at = self._from(start), start
        examples, taken = [], 0
        for position, example in islice(self._rows, most):
            self._at, taken = position, taken + 1
            if example is not None:
                examples.append(example)
        self.read, self.left_out = self.read + taken, self.left_out + taken - len(examples)
        if taken < most:
            self._rows, self._at = None, Position(start.passes + 1)
        elif self._live is not None:
            self._at = dataclasses.replace(self._at, state=self._live.state_dict())
        return examples, self._at

    def findings(self) -> tuple[Finding, ...]:
        """What was noticed of the rows that were read."""
        return self._observations.findings()

    def _from(self, start: Position) -> Iterator[tuple[Position, Example | None]]:
        observations = self._unobserved if start.passes else self._observations
        converter = self._converters[1 if start.passes else 0]
        rows = self._of_files(start, observations) if self._split is None else self._of_hub(start, observations)
        for position, name, raw in rows:
            example = None if raw is None else converter.converted(name, raw)
            if example is None:
                refuse_errors(observations)
            if raw is not None:
                yield position, example

    def _of_files(self, start: Position, observations: Observations) -> Iterator[tuple[Position, str, RawRow | None]]:
        """The rows of this process with their files; None after the last row of each file."""
        read = start.read
        for index, (path, name) in enumerate(self._files[start.file :], start.file):
            types = ColumnTypes(name, self._converters[0].used, observations)
            for raw in stream_of(path, name, observations, None) or ():
                number = raw[0]
                if index == start.file and number <= start.row:
                    continue
                if self._most is not None and read >= self._most:
                    return
                read += 1
                if number % self._processes == self._process:
                    for row in self._reshaped(name, raw):
                        types.look(row)
                        yield Position(start.passes, index, number, read), name, row
            yield Position(start.passes, index), name, None

    def _reshaped(self, name: str, raw: RawRow) -> Iterator[RawRow]:
        """A row as it is converted: taken out of an object that wraps it, or none where nothing is left of it."""
        table = Table(name, [raw])
        for change in self._reshaping:
            table = change(table)
        yield from table.rows

    def _of_hub(self, start: Position, observations: Observations) -> Iterator[tuple[Position, str, RawRow | None]]:
        """The rows of this process of a set on the Hub; None after the last row."""
        rows = copy.deepcopy(self._split)  # iterating, and a position that is set, changes it
        is_divided = self._processes > 1 and self._most is None
        rows = rows if self._most is None else rows.take(self._most)
        name = self._name
        if is_divided:
            rows = hub.rows_of_process(rows, self._process, self._processes)
            name += f" (process {self._process + 1} of {self._processes})"
        if start.state is not None:
            rows.load_state_dict(start.state)
        self._live = rows
        try:
            for number, row in enumerate(rows, start.row + 1):
                if not is_divided and number % self._processes != self._process:
                    continue
                for raw in self._reshaped(name, (number, None, hub.without_nulls_inside(row))):
                    yield Position(start.passes, 0, number), name, raw
        except Exception as problem:  # whatever a download can raise
            hub.observe_fault(problem, name, self._request, observations, DATA_FLAG)
        yield Position(start.passes), name, None
