"""Prepare rows a batch at a time: while one batch is rendered, the previous one is tokenised on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from autotrain_llm.data.dataset import Progress
from autotrain_llm.data.example import Example
from autotrain_llm.data.tokenize.collect import Collector
from autotrain_llm.data.tokenize.encode import tokenised
from autotrain_llm.data.tokenize.render import RenderedRow, RowRenderer
from autotrain_llm.data.tokenize.truncate import EncodeBatch, EncodedRows
from autotrain_llm.data.tokenizer.offsets import TokenBatch
from autotrain_llm.declare.garbage import existing_objects_frozen

IdleWork = Callable[[], object]
# A batch is full with whichever comes first. While it is tokenised a letter takes some hundred bytes, so that long rows are taken by few.
MOST_ROWS, MOST_LETTERS = 4096, 1 << 20
# The first batch is this part of a full one, and each is twice the one before: the tokenizer is soon at work.
FIRST = 1 / 16
WAITING = 2  # full batches


def collect(
    renderer: RowRenderer,
    examples: Sequence[Example],
    collector: Collector,
    progress: Progress | None,
    idle_work: IdleWork | None = None,
) -> Collector:
    """Prepare all rows of one split, in order. `idle_work` is called while the first batches are tokenised."""
    with existing_objects_frozen():
        for one, part in _overlapped(renderer, examples, idle_work):
            collector.add(part)
            if progress is not None and one.examples:
                progress("Preparing rows", one.start + len(one.examples), len(examples))
    return collector


def batches(examples: Iterable[Example]) -> Iterator[tuple[list[Example], float]]:
    """The examples in batches, each with how full it is (1: full); a single empty batch if there are no examples."""
    batch: list[Example] = []
    letters, full, empty, fill = 0, 0.0, True, FIRST
    for example in examples:
        batch.append(example)
        letters += sum(map(len, example.strings())) + len(example.input_ids or ())
        full = max(len(batch) / MOST_ROWS, letters / MOST_LETTERS)
        if full >= fill:
            yield batch, full
            batch, letters, full, empty, fill = [], 0, 0.0, False, min(2 * fill, 1)
    if batch or empty:
        yield batch, full


def _overlapped(
    renderer: RowRenderer, examples: Iterable[Example], idle_work: IdleWork | None
) -> Iterator[tuple[EncodeBatch, EncodedRows]]:
    """While one batch is rendered here, and another made rows of, those between them are tokenised on all cores, one after the other."""
    start, full = 0, 0.0
    waiting: deque[_Waiting] = deque()
    with ThreadPoolExecutor(1) as pool:
        for batch, size in batches(examples):
            one = EncodeBatch(renderer, batch, start)
            rendered = one.render()
            waiting.append(_Waiting(one, rendered, pool.submit(tokenised, renderer.tokenizer, rendered), size))
            start, full = start + len(batch), full + size
            while waiting and full >= WAITING:
                if idle_work is not None:
                    idle_work()
                    idle_work = None
                full -= waiting[0].full
                yield waiting.popleft().finish()
        if idle_work is not None:
            idle_work()
        while waiting:
            yield waiting.popleft().finish()


@dataclass
class _Waiting:
    """A batch at the tokenizer."""

    one: EncodeBatch
    rendered: list[tuple[int, list[RenderedRow]]]
    tokens: Future[TokenBatch]
    full: float

    def finish(self) -> tuple[EncodeBatch, EncodedRows]:
        return self.one, self.one.finish(self.rendered, self.tokens.result())
