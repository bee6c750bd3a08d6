"""Near duplicates: rows with nearly the same shingles (five words in a row), found with MinHash (Broder, 1997; `datasketch`), then compared
exactly.

Shingles that more than a tenth of the rows have, such as a common instruction, are left out first, and rows with too few other shingles are
not compared. So rows that a program wrote from one pattern don't count as duplicates.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from autotrain_llm.data.example import Example

if TYPE_CHECKING:
    from numpy import ndarray

WORDS = 5  # in a run
FEWEST_SHINGLES = 20  # runs of a row of its own
SIMILARITY = 0.9  # share of the runs of two rows that both have
PATTERN_SHARE = 0.1  # share of the rows that a run may be in before it counts as their pattern
MOST_ROWS = 4000
MOST_EVALUATION_ROWS = 1000
PERMUTATIONS, BANDS, BAND = 64, 8, 8  # rows that are alike to 0.9 share a band with a probability of 0.99
MIX = 0x9E3779B97F4A7C15  # odd, and far from any power of two


@dataclass
class DuplicatePairs:
    """Pairs of an earlier row and a later near duplicate of it, and the number of rows that were compared."""

    compared: int
    pairs: list[tuple[Example, Example]] = field(default_factory=list)


def sampled(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """All rows, or `most` of them, sampled with the seed and in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[at] for at in sorted(random.Random(seed).sample(range(len(rows)), most))]


def near_duplicates(rows: Sequence[Example], fewest: float = 1) -> DuplicatePairs:
    """Each row that is a near duplicate of an earlier one, after that one; no pairs if there can't be `fewest` of them."""
    shingles = _distinctive_shingles(rows)
    likely = _likely(shingles, shingles, 2)
    if len(likely) < fewest:
        return DuplicatePairs(len(rows))
    return DuplicatePairs(len(rows), _paired((rows, shingles, likely), (rows, shingles, likely)))


def near_overlap(train: Sequence[Example], valid: Sequence[Example], fewest: float = 1) -> DuplicatePairs:
    """Each evaluation row that is a near duplicate of a training row, after that row; no pairs if there can't be `fewest` of them."""
    shingles = _distinctive_shingles([*train, *valid])
    trained, evaluated = shingles[: len(train)], shingles[len(train) :]
    likely = _likely(evaluated, trained, 1)
    if len(likely) < fewest:
        return DuplicatePairs(len(valid))
    pairs = _paired((train, trained, _likely(trained, evaluated, 1)), (valid, evaluated, likely))
    return DuplicatePairs(len(valid), pairs)


def _distinctive_shingles(rows: Sequence[Example]) -> list[ndarray]:
    """For each row, its shingles as numbers, each once, without common ones; none if too few are left."""
    import numpy

    words: defaultdict[str, int] = defaultdict(count(1).__next__)
    shingles = [_shingles(row, words) for row in rows]
    numbers, counts = numpy.unique(numpy.concatenate([*shingles, _none()]), return_counts=True)
    common = numbers[counts > max(PATTERN_SHARE * len(rows), 2 * WORDS)]
    own = [one[~numpy.isin(one, common)] for one in shingles] if len(common) else shingles
    return [one if len(one) >= FEWEST_SHINGLES else _none() for one in own]


def _none() -> ndarray:
    import numpy

    return numpy.zeros(0, dtype=numpy.uint64)


def _shingles(row: Example, words: defaultdict[str, int]) -> ndarray:
    """The shingles of a row, each once: words are numbered in the order in which they occur, and a shingle is a hash of its numbers."""
    import numpy

    tokens = " ".join(row.strings()).lower().split()
    if len(tokens) < WORDS:
        return _none()
    numbers = numpy.fromiter(map(words.__getitem__, tokens), dtype=numpy.uint64, count=len(tokens))
    shingles = len(numbers) - WORDS + 1
    mixed = numbers[:shingles].copy()
    for at in range(1, WORDS):
        mixed = mixed * numpy.uint64(MIX) + numbers[at : at + shingles]
    mixed.sort()
    return mixed[numpy.append(True, mixed[1:] != mixed[:-1])]


def _likely(shingles: Sequence[ndarray], others: Sequence[ndarray], times: int) -> list[int]:
    """Indices of rows that can have a near duplicate: nearly all of their shingles occur at least `times` times in `others`. In most data
    there is none."""
    import numpy

    numbers, counts = numpy.unique(numpy.concatenate([*others, _none()]), return_counts=True)
    frequent = numbers[counts >= times]
    if not len(frequent):
        return []
    lengths = numpy.array([len(one) for one in shingles])
    ends = numpy.cumsum(lengths)
    running = numpy.concatenate([[0], numpy.cumsum(numpy.isin(numpy.concatenate(shingles), frequent))])
    shared = running[ends] - running[ends - lengths]
    return numpy.flatnonzero((lengths > 0) & (shared >= SIMILARITY * lengths)).tolist()


Side = tuple[
    Sequence[Example], Sequence[Any], Sequence[int]
]  # rows, their runs, and those of them that can have a twin


def _paired(first: Side, second: Side) -> list[tuple[Example, Example]]:
    """Rows of the second side that are near duplicates of one of the first, after that row; if both sides are the same, of an earlier row.
    Exact duplicates are not paired."""
    (rows, shingles, likely), (others, other_shingles, likely_others) = first, second
    if not likely or not likely_others:
        return []
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, BAND))
    within = rows is others
    if not within:
        for at, hashed in _hashes(shingles, likely):
            index.insert(at, hashed)
    pairs = []
    for at, hashed in _hashes(other_shingles, likely_others):
        near = sorted(index.query(hashed))
        earlier = next(
            (one for one in near if _are_near_duplicates(rows[one], shingles[one], others[at], other_shingles[at])),
            None,
        )
        if earlier is not None:
            pairs.append((rows[earlier], others[at]))
        elif within:
            index.insert(at, hashed)
    return pairs


def _hashes(shingles: Sequence[Any], chosen: Sequence[int]) -> list[tuple[int, Any]]:
    """For each of these rows its MinHash, of the upper halves of its shingles' numbers, which are mixed best."""
    import numpy
    from datasketch import MinHash

    upper = [(shingles[at] >> numpy.uint64(32)).tolist() for at in chosen]
    return list(zip(chosen, MinHash.bulk(upper, num_perm=PERMUTATIONS, seed=1, hashfunc=int), strict=True))


def _are_near_duplicates(one: Example, shingles: Any, other: Example, others: Any) -> bool:
    import numpy

    both = len(numpy.intersect1d(shingles, others, assume_unique=True))
    return both >= SIMILARITY * (len(shingles) + len(others) - both) and one.key() != other.key()
