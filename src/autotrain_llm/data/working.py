"""The work of preparing rows, spread over threads or, for data that lies in a spool, over processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from autotrain_llm.data.collect import Collector
from autotrain_llm.data.dataset import Progress
from autotrain_llm.data.example import Example
from autotrain_llm.data.faults import Faults
from autotrain_llm.data.passes import Part, Pass
from autotrain_llm.data.pieces import PieceMaker

if TYPE_CHECKING:
    from autotrain_llm.data.prepare import Preparation

BATCH = 1000


def collect(
    maker: PieceMaker,
    faults: Faults,
    preparation: Preparation,
    examples: Sequence[Example],
    collector: Collector,
    progress: Progress | None,
) -> Collector:
    """Take all parts of one side, in their order."""
    for number, part in enumerate(_overlapped(maker, faults, preparation, examples)):
        collector.add(part)
        if progress is not None:
            progress("Preparing rows", min((number + 1) * BATCH, len(examples)), len(examples))
    return collector


def _overlapped(
    maker: PieceMaker, faults: Faults, preparation: Preparation, examples: Sequence[Example]
) -> Iterator[Part]:
    """While one batch is rendered here, the one before is tokenised on all cores."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for start in range(0, max(len(examples), 1), BATCH):
            one = Pass(maker, faults, preparation, examples[start : start + BATCH], start)
            coming = (one, pool.submit(one.encoded, one.pieces()))
            if waiting is not None:
                yield waiting[0].taken(waiting[1].result())
            waiting = coming
        if waiting is not None:
            yield waiting[0].taken(waiting[1].result())
