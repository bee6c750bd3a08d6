"""Batches of rows that are read while they are trained on, in an order that a resumed run goes on with exactly.

The rows of a process are taken in buffers of a fixed number of rows. A buffer is tokenised as a whole, packed or cut into blocks as a whole, and its items come in
an order that follows from the seed and the buffer's number. So all that a checkpoint needs is where a buffer begins and how many of its items are used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from autotrain_llm.context.output_dir import STREAM_FILE
from autotrain_llm.data.load.row_stream import Position, RowStream
from autotrain_llm.data.tokenize.buffers import BufferPreparer
from autotrain_llm.data.tokenize.pack import pack_rows
from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.run.engine.batches import RowGroups
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.objective import Sums
from autotrain_llm.run.failures import RunFailed

KEPT = 256  # states before the last batches: more than any loader fetches ahead


@dataclass(frozen=True)
class StreamState:
    """What a process has used before a batch: `used` items of the buffer `number`, whose rows come after `start`."""

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


class StreamedBatches:
    """The loop's source of batches where rows are streamed. While a buffer is trained on, a thread makes the next.

    `open_stream` opens the rows of a process among several.
    """

    def __init__(
        self,
        open_stream: Callable[[int, int], RowStream],
        preparer: BufferPreparer,
        settings: StreamSettings,
        collate: Any,
    ) -> None:
        self._open_stream, self._preparer, self._settings, self._collate = open_stream, preparer, settings, collate
        self._pool = ThreadPoolExecutor(1, "rows")
        self._stream: RowStream | None = None  # until the training begins
        self._restored: tuple[int, list[StreamState]] | None = None
        self._buffer: Buffer | None = None
        self._next_buffer: Future[Buffer] | None = None
        self._used = self._next = 0
        self._gave_items = (
            True  # whether any buffer of the current pass did; of one that was resumed in, it is not known
        )
        self._states: dict[int, StreamState] = {}

    # --- the interface of BatchSource -------------------------------------------------------------------------------

    def batches(self, loop: Loop) -> DataLoader[Any]:
        self._loop = loop
        accumulated = loop.args.gradient_accumulation_steps
        self._stream = self._open_stream(loop.args.process_index, loop.args.world_size)
        state = StreamState()
        if self._restored is not None:
            step, states = self._restored
            self._next, state = step * accumulated, states[loop.args.process_index]
        self._states = {self._next: state}
        order = _BatchNumbers(loop.args.max_steps * accumulated)
        return _StreamLoader(_BatchesByNumber(self, len(order)), batch_sampler=order, collate_fn=self._collated)

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
        state = self._states[self._loop.state.global_step * args.gradient_accumulation_steps]
        states = self._of_all_processes(dataclasses.asdict(state))
        if args.should_save:
            (folder / STREAM_FILE).write_text(json.dumps({"processes": states}) + "\n", encoding="utf-8")

    def restore(self, checkpoint: Path, step: int) -> None:
        """Go on after a step, where a checkpoint says."""
        document = parse_json((checkpoint / STREAM_FILE).read_text(encoding="utf-8"))
        self._restored = step, [StreamState.from_json(state) for state in document["processes"]]

    # --- batches ----------------------------------------------------------------------------------------------------

    def batch(self, number: int) -> list[Row]:
        """The rows of this process's batch of a number; batches come in their order."""
        assert number == self._next, f"batch {number} was asked for in place of {self._next}"
        if self._buffer is None:
            state = self._states[number]
            self._buffer, self._used = self._make(state.number, state.start), state.used
            self._make_next()
        rows = [row for _ in range(self._settings.batch_size) for row in self._item()]
        self._next += 1
        self._states[self._next] = StreamState(self._buffer.start, self._buffer.number, self._used)
        self._states.pop(self._next - KEPT, None)
        return rows

    def _item(self) -> list[Row]:
        assert self._buffer is not None and self._next_buffer is not None
        while self._used >= len(self._buffer.order):
            self._buffer, self._used = self._next_buffer.result(), 0
            self._make_next()
        item: list[Row] = self._buffer.items[int(self._buffer.order[self._used])]
        self._used += 1
        return item

    def _make_next(self) -> None:
        assert self._buffer is not None
        self._next_buffer = self._pool.submit(self._make, self._buffer.number + 1, self._buffer.end)

    def _make(self, number: int, start: Position) -> Buffer:
        """The buffer of the rows after a position."""
        settings, process = self._settings, self._loop.args.process_index
        assert self._stream is not None
        try:
            examples, end = self._stream.take(start, settings.buffer)
            rows = self._preparer.rows(examples, start.passes)
        except Refused as refused:
            finding = refused.findings[0]
            raise RunFailed(finding.message, finding.fix or "correct the row, and --resume") from refused
        items = RowGroups(rows, None if settings.pack_length is None else pack_rows(rows, settings.pack_length))
        self._check_pass(start, end, len(items))
        order = np.random.default_rng((settings.seed, process, number)).permutation(len(items))
        return Buffer(start, number, items, order, end)

    def _check_pass(self, start: Position, end: Position, items: int) -> None:
        """Raise RunFailed if a whole pass has given nothing to train on: the next would give as little."""
        if start == Position(start.passes):
            self._gave_items = False
        self._gave_items = self._gave_items or items > 0
        if end.passes > start.passes and not self._gave_items:
            raise RunFailed("no row of the stream can be trained on by this process", "fewer processes, or other rows")

    # --- the end ----------------------------------------------------------------------------------------------------

    def findings(self) -> tuple[Finding, ...]:
        """What was noticed of the rows that all processes have read; all of them have to call it."""
        if self._stream is None:
            return ()
        own = [finding.as_document() for finding in (*self._stream.findings(), *self._preparer.findings())]
        of_all = chain.from_iterable(self._of_all_processes(own))
        return tuple(dict.fromkeys(map(Finding.of_document, of_all)))

    def counts(self) -> dict[str, int]:
        """The rows that all processes have read since the run was started or resumed, and those left out; all of them have to call it."""
        if self._stream is None:
            return {}
        own = (self._stream.read, self._stream.left_out + self._preparer.left_out)
        read, left_out = (sum(values) for values in zip(*self._of_all_processes(own), strict=True))
        return {"rows_read": read, "rows_left_out": left_out}

    def _of_all_processes(self, value: Any) -> list[Any]:
        if self._loop.args.world_size == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[Any] = gather_object([value])
        return gathered


class _BatchNumbers(Sampler[list[int]]):
    """The numbers of all batches of a run: of a resumed one the loop skips the first, without fetching them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        return ([number] for number in range(self.count))


class _BatchesByNumber(Dataset[list[Row]]):
    def __init__(self, source: StreamedBatches, count: int) -> None:
        self.source, self.count = source, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> list[Row]:
        return self.source.batch(number)


class _StreamLoader(DataLoader[Any]):
    def set_epoch(self, epoch: int) -> None:
        """A run is one epoch: passes through the rows follow one another inside it."""
