"""Batches of rows that are read while they are trained on, in an order that a resumed run goes on with exactly.

The rows of a stream are taken in buffers of a fixed number of rows. A buffer is tokenised as a whole, packed or cut into blocks as a whole, and its items come in
an order that follows from the seed and the buffer's number. So all that a checkpoint needs is where a buffer begins and how many of its items are used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from autotrain_llm.context.output_dir import STREAM_FILE
from autotrain_llm.data.load.row_stream import Position, RowStream
from autotrain_llm.data.tokenize.buffers import BufferPreparer
from autotrain_llm.data.tokenize.pack import pack_rows
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.run.engine.batches import RowGroups
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.lazy_batches import LazyBatches
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.failures import RunFailed

KEPT = 256  # states before the last batches: more than any loader fetches ahead


@dataclass(frozen=True)
class StreamState:
    """What of a stream is used before a batch: `used` items of the buffer `number`, whose rows come after `start`."""

    start: Position = field(default_factory=Position)
    number: int = 0
    used: int = 0

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> StreamState:
        return cls(Position(**document["start"]), document["number"], document["used"])


@dataclass(frozen=True)
class Buffer:
    """The items of some rows and their order, and the position after the rows."""

    start: Position
    number: int
    items: RowGroups
    order: np.ndarray
    end: Position


@dataclass(frozen=True)
class StreamSettings:
    """The rows of a buffer, the length of packs (None: rows are not packed), the items of a batch, and the seed of the order."""

    buffer: int
    pack_length: int | None
    batch_size: int
    seed: int


class _Stream:
    """One of the parts that the rows are read in: its items one after the other, buffer after buffer. While one is used, a thread makes the next."""

    def __init__(self, rows: RowStream, index: int, state: StreamState, source: StreamedBatches) -> None:
        self.rows, self.index, self._source = rows, index, source
        self.left_out = 0  # rows without a token to train on
        self._first: StreamState | None = state  # until its first buffer is made
        self._buffer: Buffer | None = None
        self._next_buffer: Future[Buffer] | None = None
        self._used = 0
        # Whether any buffer of the current pass gave items; of one that was resumed in, it is not known.
        self._gave_items = True

    @property
    def state(self) -> StreamState:
        """What of it is used."""
        if self._buffer is None:
            assert self._first is not None
            return self._first
        return StreamState(self._buffer.start, self._buffer.number, self._used)

    def item(self) -> list[Row]:
        """The rows of the next item."""
        buffer = self._at_an_item()
        item: list[Row] = buffer.items[int(buffer.order[self._used])]
        self._used += 1
        return item

    def skip(self, items: int) -> None:
        """Go on after this many items, which another process uses."""
        while items:
            buffer = self._at_an_item()
            skipped = min(items, len(buffer.order) - self._used)
            self._used, items = self._used + skipped, items - skipped

    def _at_an_item(self) -> Buffer:
        """The buffer of the next item."""
        if self._buffer is None:
            assert self._first is not None
            self._buffer, self._used = self._made(self._first.number, self._first.start).result(), self._first.used
            self._next_buffer = self._made(self._buffer.number + 1, self._buffer.end)
        while self._used >= len(self._buffer.order):
            assert self._next_buffer is not None
            self._buffer, self._used = self._next_buffer.result(), 0
            self._next_buffer = self._made(self._buffer.number + 1, self._buffer.end)
        return self._buffer

    def _made(self, number: int, start: Position) -> Future[Buffer]:
        return self._source.pool.submit(self._make, number, start)

    def _make(self, number: int, start: Position) -> Buffer:
        """The buffer of the rows after a position."""
        settings, preparer = self._source.settings, self._source.preparer
        try:
            examples, end = self.rows.take(start, settings.buffer)
            before = preparer.left_out
            rows = preparer.rows(examples, start.passes)
            self.left_out += preparer.left_out - before
        except Refused as refused:
            finding = refused.findings[0]
            raise RunFailed(finding.message, finding.fix or "correct the row, and --resume") from refused
        items = RowGroups(rows, None if settings.pack_length is None else pack_rows(rows, settings.pack_length))
        self._check_pass(start, end, len(items))
        order = np.random.default_rng((settings.seed, self.index, number)).permutation(len(items))
        return Buffer(start, number, items, order, end)

    def _check_pass(self, start: Position, end: Position, items: int) -> None:
        """Raise RunFailed if a whole pass has given nothing to train on: the next would give as little."""
        if start == Position(start.passes):
            self._gave_items = False
        self._gave_items = self._gave_items or items > 0
        if end.passes > start.passes and not self._gave_items:
            raise RunFailed("no row of the stream can be trained on by this process", "fewer processes, or other rows")


@dataclass(frozen=True)
class Slice:
    """The items `first` to `last` of those that a stream gives to each step."""

    stream: int
    first: int
    last: int


def slices_of(process: int, processes: int, streams: int, items: int) -> list[Slice]:
    """What a process uses of each of the streams in a step of `items` items, of which each stream gives as many and each process uses as many."""
    of_stream, own = items // streams, items // processes
    parts = []
    for stream in range(streams):
        first = max(process * own - stream * of_stream, 0)
        last = min((process + 1) * own - stream * of_stream, of_stream)
        if first < last:
            parts.append(Slice(stream, first, last))
    return parts


class StreamedBatches:
    """The loop's source of batches where rows are streamed.

    A run that begins has a stream for each process, or each group of processes that divide the tokens of a batch (`--context-parallel`). One that goes on with other processes keeps its streams, and a step the items that it would have had:
    a process that uses a part of a stream's items reads all of its rows. `open_stream` opens one of several streams.
    """

    def __init__(
        self,
        open_stream: Callable[[int, int], RowStream],
        preparer: BufferPreparer,
        settings: StreamSettings,
        collate: Any,
    ) -> None:
        self.preparer, self.settings = preparer, settings
        self.pool = ThreadPoolExecutor(1, "rows")
        self._open_stream, self._collate = open_stream, collate
        self._streams: dict[int, _Stream] = {}  # until the training begins
        self._slices: list[Slice] = []
        self._of_stream = 0  # items that a stream gives to each step
        self._is_first_of_group = True
        self._restored: tuple[int, list[StreamState]] | None = None
        self._next = 0
        self._items: Iterator[list[Row]] = iter(())
        self._states: dict[int, dict[int, StreamState]] = {}  # before the first batch of a step

    # --- the interface of BatchSource -------------------------------------------------------------------------------

    def batches(self, loop: Loop) -> DataLoader[Any]:
        self._loop, args = loop, loop.args
        accumulated = args.gradient_accumulation_steps
        divides = loop.layout.divides  # processes of a group have the same rows, and divide their tokens
        group, groups = args.process_index // divides, args.world_size // divides
        self._is_first_of_group = args.process_index % divides == 0
        step, states = self._restored or (0, [StreamState()] * groups)
        items = self.settings.batch_size * accumulated * groups
        self._of_stream = items // len(states)
        self._slices = slices_of(group, groups, len(states), items)
        for index in (part.stream for part in self._slices):
            self._streams[index] = _Stream(self._open_stream(index, len(states)), index, states[index], self)
        self._next = step * accumulated
        self._note_states()
        # A run is one epoch: passes through the rows follow one another inside it.
        return LazyBatches(self.batch, args.max_steps * accumulated, self._collated)

    def _collated(self, batch: list[list[Row]]) -> dict[str, Any]:
        (rows,) = batch
        collated: dict[str, Any] = self._collate(rows)
        return collated

    def on_batch_end(self, metrics: Sums) -> None:
        """Nothing follows from the metrics of a batch."""

    @contextmanager
    def saving(self, folder: Path) -> Iterator[None]:
        yield
        args = self._loop.args
        own = self._states[self._loop.state.global_step * args.gradient_accumulation_steps]
        states: dict[int, Any] = {}
        for of_process in self._of_all_processes({stream: dataclasses.asdict(state) for stream, state in own.items()}):
            states |= of_process
        if args.should_save:
            document = {"processes": [states[stream] for stream in sorted(states)]}
            (folder / STREAM_FILE).write_text(json.dumps(document) + "\n", encoding="utf-8")

    def restore(self, checkpoint: Path, step: int) -> None:
        """Go on after a step, where a checkpoint says."""
        document = parse_json((checkpoint / STREAM_FILE).read_text(encoding="utf-8"))
        self._restored = step, [StreamState.from_json(state) for state in document["processes"]]

    # --- batches ----------------------------------------------------------------------------------------------------

    def batch(self, number: int) -> list[Row]:
        """The rows of this process's batch of a number; batches come in their order."""
        assert number == self._next, f"batch {number} was asked for in place of {self._next}"
        accumulated = self._loop.args.gradient_accumulation_steps
        if number % accumulated == 0:
            self._items = self._items_of_step()
        rows = [row for item in islice(self._items, self.settings.batch_size) for row in item]
        self._next += 1
        if self._next % accumulated == 0:
            assert next(self._items, None) is None
            self._note_states()
        return rows

    def _items_of_step(self) -> Iterator[list[Row]]:
        """The items of a step that this process uses; at its end the streams are after all items of the step."""
        for part in self._slices:
            stream = self._streams[part.stream]
            stream.skip(part.first)
            for _ in range(part.first, part.last):
                yield stream.item()
            stream.skip(self._of_stream - part.last)

    def _note_states(self) -> None:
        self._states[self._next] = {index: stream.state for index, stream in self._streams.items()}
        for earlier in [number for number in self._states if number < self._next - KEPT]:
            del self._states[earlier]

    # --- the end ----------------------------------------------------------------------------------------------------

    def findings(self) -> tuple[Finding, ...]:
        """What was noticed of the rows that all processes have read; all of them have to call it."""
        if not self._streams:
            return ()
        of_rows = [finding for stream in self._streams.values() for finding in stream.rows.findings()]
        own = [finding.as_document() for finding in (*of_rows, *self.preparer.findings())]
        of_all = chain.from_iterable(self._of_all_processes(own))
        return tuple(dict.fromkeys(map(Finding.of_document, of_all)))

    def counts(self) -> dict[str, int]:
        """The rows that all processes have read since the run was started or resumed, and those left out; all of them have to call it."""
        if not self._streams:
            return {}
        # Of processes that share a stream, the one that uses its first item counts its rows.
        own = [self._streams[part.stream] for part in self._slices if part.first == 0 and self._is_first_of_group]
        counted = sum(stream.rows.read for stream in own), sum(stream.rows.left_out + stream.left_out for stream in own)
        read, left_out = (sum(values) for values in zip(*self._of_all_processes(counted), strict=True))
        return {"rows_read": read, "rows_left_out": left_out}

    def _of_all_processes(self, value: Any) -> list[Any]:
        if self._loop.args.world_size == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[Any] = gather_object([value])
        return gathered
