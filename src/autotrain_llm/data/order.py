"""The order in which rows are trained on, and how many are in one batch without gradients: the same for training and for the memory
estimate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# From this share of a batch's tokens on, the second copies of its prompts cost more than segments that continue others do.
SHARED_FROM = 0.05
# Tokens of a batch without gradients: of references, teachers and phases; and of reward models, padding counted in.
NO_GRAD_TOKENS, SCORED_TOKENS = 8192, 16384
# Positions for which answers that are written get room at a time.
CACHE_GROWTH = 64
# Of a GPU's memory, what vLLM takes.
VLLM_SHARE = 0.3


def order_of_epoch(count: int, seed: int | None, epoch: int) -> Any:
    """The order of an epoch's `count` items as indices (count,); without a seed the order of the data."""
    import numpy

    if seed is None:
        return numpy.arange(count)
    return numpy.random.default_rng((seed, epoch)).permutation(count)


def choose_rows(rows: int, count: int, seed: int) -> Any:
    """The indices of `count` of `rows` rows in ascending order, drawn with the seed (count,); a smaller choice is part of a larger one."""
    import numpy

    return numpy.sort(numpy.random.default_rng(seed).permutation(rows)[:count])


def no_grad_batches(lengths: Iterable[int]) -> Iterator[range]:
    """Ranges of items with these lengths in tokens: as many as fit into a batch without gradients, and at least one."""
    start = end = tokens = 0
    for own in lengths:
        if end > start and tokens + own > NO_GRAD_TOKENS:
            yield range(start, end)
            start, tokens = end, 0
        tokens += own
        end += 1
    if end > start:
        yield range(start, end)
