"""`Mixture`: how many items of each source an epoch has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotrain_llm.data.mixture.config import TOKENS, MixtureConfig
from autotrain_llm.data.order import MixtureOrder, ranges_of
from autotrain_llm.data.rows import Rows
from autotrain_llm.data.tokenize.pack import pack


@dataclass(frozen=True)
class MixedSource:
    """A source of a mixture: its rows and tokens to train on, how often an epoch goes through it (`passes`), its share of the weights (None
    without weights), and whether its evaluation rows have a loss of their own."""

    name: str
    path: str
    format: str
    weight: float | None
    rows: int
    eval_rows: int
    tokens: int
    passes: float
    has_own_loss: bool
    fingerprint: str
    samples: int | None = None  # `max_samples`: so many of its rows, chosen by the seed


@dataclass(frozen=True)
class Mixture:
    """The sources of a mixture. Joined rows are those of the first source, then those of the second, and so on."""

    sources: tuple[MixedSource, ...]
    weights_by: str
    seed: int

    def order(self, items: Sequence[int]) -> MixtureOrder:
        """The order of items (rows, answers or packs), of which the sources have this many."""
        return MixtureOrder(tuple(items), self.counts(items), self.seed)

    def counts(self, items: Sequence[int]) -> tuple[int, ...]:
        """How many of these items of each source an epoch has."""
        return rounded([source.passes * count for source, count in zip(self.sources, items, strict=True)])

    def share_of_rows(self, source: MixedSource) -> float:
        """The share of an epoch's rows that a source has."""
        return source.passes * source.rows / sum(one.passes * one.rows for one in self.sources)

    def share_of_tokens(self, source: MixedSource) -> float:
        """The share of an epoch's tokens that a source has, on average over epochs."""
        return source.passes * source.tokens / sum(one.passes * one.tokens for one in self.sources)

    def evaluated(self, items: Sequence[int]) -> dict[str, range]:
        """The evaluation items with a loss of their own, by source, if the sources have this many."""
        return {
            source.name: own
            for source, own in zip(self.sources, ranges_of(items), strict=True)
            if source.has_own_loss and own
        }


def rounded(numbers: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers with the sum of these, rounded, each as near as possible: the largest remainders are rounded up."""
    whole = [math.floor(number) for number in numbers]
    order = sorted(range(len(numbers)), key=lambda index: (whole[index] - numbers[index], index))
    for index in order[: round(math.fsum(numbers)) - sum(whole)]:
        whole[index] += 1
    return tuple(whole)


def passes_of(config: MixtureConfig, rows: Sequence[int], tokens: Sequence[int]) -> tuple[float, ...]:
    """How often an epoch goes through each source, which has this many rows and tokens to train on.

    A source of size m (in rows or tokens) with weight w is gone through c·w/m times. The constant c is `total`, or such that `epochs_of` is
    gone through once, or by default the largest with which no source is gone through more than once. Without weights w is m.
    """
    sizes = tokens if config.weights_by == TOKENS else rows
    whole = sum(sizes)
    weights = [
        source.weight if source.weight is not None else size / whole
        for source, size in zip(config.sources, sizes, strict=True)
    ]
    ratios = [weight / size for weight, size in zip(weights, sizes, strict=True)]
    if config.total is not None:
        constant = float(config.total)
    elif config.epochs_of is not None:
        constant = 1 / ratios[[source.name for source in config.sources].index(config.epochs_of)]
    else:
        constant = 1 / max(ratios)
    return tuple(constant * ratio for ratio in ratios)


def items_of_sources(rows: Rows, each: int, pack_length: int | None) -> list[int]:
    """The items that batches are made of, by source: `each` of a row, or packs of at most `pack_length` tokens."""
    if pack_length is None:
        return [each * len(part) for part in rows.parts]
    return [len(pack(part.lengths, pack_length)) for part in rows.parts]
