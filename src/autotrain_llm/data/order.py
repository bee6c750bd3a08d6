"""The order in which rows are trained on, and how many are in one batch without gradients: the same for training and for the memory
estimate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Protocol

# From this share of a batch's tokens on, the second copies of its prompts cost more than segments that continue others do.
SHARED_FROM = 0.05
# Tokens of a batch without gradients: of references, teachers and phases; and of reward models, padding counted in.
NO_GRAD_TOKENS, SCORED_TOKENS = 8192, 16384
# Positions for which answers that are written get room at a time.
CACHE_GROWTH = 64
# Of a GPU's memory, what vLLM takes.
VLLM_SHARE = 0.3
# Part of the seeds of a mixture: where in an epoch the items of each source stand, and in which order they come.
PLACES, ITEMS = 0, 1


class EpochOrder(Protocol):
    """The order in which items are used in each epoch. Its length is the number of items of an epoch, the same in all of them."""

    def __len__(self) -> int: ...

    def of_epoch(self, epoch: int) -> Any:
        """The indices of the epoch's items, in order: (length,)."""
        ...


@dataclass(frozen=True)
class DataOrder:
    """All items of a range, in the order of the data."""

    items: range

    def __len__(self) -> int:
        return len(self.items)

    def of_epoch(self, epoch: int) -> Any:
        import numpy

        return numpy.arange(self.items.start, self.items.stop)


@dataclass(frozen=True)
class ShuffledOrder:
    """All items, in an order that the seed and the epoch decide."""

    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def of_epoch(self, epoch: int) -> Any:
        import numpy

        return numpy.random.default_rng((self.seed, epoch)).permutation(self.count)


@dataclass(frozen=True)
class MixtureOrder:
    """Of each source a certain number of items in each epoch, shuffled together.

    `sizes` are the items that each source has, one source after the other, and `counts` those of an epoch. The items of a source follow
    one seeded permutation of all of them after another, through all epochs: none is used again before all have been used as often.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    seed: int

    def __len__(self) -> int:
        return sum(self.counts)

    def of_epoch(self, epoch: int) -> Any:
        import numpy

        places = numpy.random.default_rng((self.seed, epoch, PLACES)).permutation(len(self))
        order = numpy.empty(len(self), dtype=numpy.int64)
        start = first = 0
        for source, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            own = numpy.sort(places[start : start + count])
            order[own] = first + self._items_of(source, size, epoch * count, count)
            start, first = start + count, first + size
        return order

    def _items_of(self, source: int, size: int, begin: int, count: int) -> Any:
        """The items of a source from position `begin` of its permutations on."""
        import numpy

        parts = [numpy.zeros(0, dtype=numpy.int64)]
        while count:
            passes, at = divmod(begin, size)
            part = numpy.random.default_rng((self.seed, passes, source, ITEMS)).permutation(size)[at : at + count]
            parts.append(part)
            begin, count = begin + len(part), count - len(part)
        return numpy.concatenate(parts)


def ranges_of(counts: Iterable[int]) -> list[range]:
    """This many items each, one part after the other: the range of each part."""
    return [range(start, end) for start, end in pairwise(accumulate(counts, initial=0))]


def counts_of(items: Any, sizes: Sequence[int]) -> list[int]:
    """How many of these items belong to each part, if the parts have so many, one after the other."""
    import numpy

    parts = numpy.searchsorted(numpy.cumsum(sizes), items, side="right")
    counts: list[int] = numpy.bincount(parts, minlength=len(sizes)).tolist()
    return counts


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
