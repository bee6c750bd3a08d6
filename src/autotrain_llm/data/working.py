"""The work of preparing rows, a batch at a time: while one batch is rendered, the one before is tokenised on all cores."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from autotrain_llm.data.collect import Collector
from autotrain_llm.data.dataset import Progress
from autotrain_llm.data.example import Example
from autotrain_llm.data.faults import Faults
from autotrain_llm.data.passes import Part, Pass
from autotrain_llm.data.pieces import Piece, PieceMaker

if TYPE_CHECKING:
    from autotrain_llm.data.prepare import Preparation

Meanwhile = Callable[[], object]
# A batch ends at whichever comes first. While it is tokenised a letter takes some hundred bytes, so that long rows are taken by few.
MOST_ROWS, MOST_LETTERS = 4096, 2 << 20


def collect(
    maker: PieceMaker,
    faults: Faults,
    preparation: Preparation,
    examples: Sequence[Example],
    collector: Collector,
    progress: Progress | None,
    meanwhile: Meanwhile | None = None,
) -> Collector:
    """Take all parts of one side, in their order. `meanwhile` is called while the first of them is tokenised."""
    with _what_is_there_stays():
        for one, part in _overlapped(maker, faults, preparation, examples, meanwhile):
            collector.add(part)
            if progress is not None and one.examples:
                progress("Preparing rows", one.start + len(one.examples), len(examples))
    return collector


@contextmanager
def _what_is_there_stays() -> Iterator[None]:
    """Inside it the garbage collector doesn't go through what is there already, the rows above all, again and again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples in stretches of so many rows or letters; a single empty one where there are none."""
    batch: list[Example] = []
    letters, empty = 0, True
    for example in examples:
        batch.append(example)
        letters += sum(map(len, example.strings()))
        if len(batch) == MOST_ROWS or letters >= MOST_LETTERS:
            yield batch
            batch, letters, empty = [], 0, False
    if batch or empty:
        yield batch


def _overlapped(
    maker: PieceMaker,
    faults: Faults,
    preparation: Preparation,
    examples: Iterable[Example],
    meanwhile: Meanwhile | None,
) -> Iterator[tuple[Pass, Part]]:
    """While one batch is rendered here, and another made rows of, a third is tokenised on all cores."""
    start = 0
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for batch in batches(examples):
            one = Pass(maker, faults, preparation, batch, start)
            start += len(batch)
            pieces = one.pieces()
            coming = (one, pieces, pool.submit(one.tokenised, pieces))
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            if waiting is not None:
                yield _taken(*waiting)
            waiting = coming
        if waiting is not None:
            yield _taken(*waiting)


def _taken(one: Pass, pieces: list[tuple[int, list[Piece]]], tokenised: Future[list[Any]]) -> tuple[Pass, Part]:
    return one, one.taken(pieces, tokenised.result())
