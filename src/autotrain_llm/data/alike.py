"""Rows that are nearly the same: compared by runs of five words, found with MinHash (Broder, 1997) as `datasketch` has it, then counted exactly.

What a tenth of the rows share, such as a question that they all begin with, says nothing about two of them and is left out first; rows that
are short without it are not judged. So rows that a program wrote from one pattern are not taken for copies.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.data.example import Example

WORDS = 5  # in a run
FEWEST = 20  # runs of a row of its own
ALIKE = 0.9  # share of the runs of two rows that both have
MANY = 0.1  # share of the rows that a run may be in before it counts as their pattern
MOST_ROWS = 4000
MOST_EVALUATION_ROWS = 1000
PERMUTATIONS, BANDS, BAND = 64, 8, 8  # rows that are alike to 0.9 share a band with a probability of 0.99
Runs = set[str]


@dataclass
class Twins:
    """Pairs of rows that are nearly the same: an earlier and a later one; and how many rows were compared."""

    compared: int
    pairs: list[tuple[Example, Example]] = field(default_factory=list)


def sampled(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """All rows, or `most` of them drawn with the seed, in their order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[at] for at in sorted(random.Random(seed).sample(range(len(rows)), most))]


def near_duplicates(rows: Sequence[Example]) -> Twins:
    """For each row that is nearly an earlier one, both."""
    runs = _own_runs(rows)
    likely = _likely(runs, Counter(run for held in runs for run in held), 2)
    return Twins(len(rows), _paired(rows, runs, likely, rows, runs, likely))


def near_overlap(train: Sequence[Example], valid: Sequence[Example]) -> Twins:
    """For each evaluation row that is nearly one that is trained on, both, the latter first."""
    runs = _own_runs([*train, *valid])
    trained, evaluated = runs[: len(train)], runs[len(train) :]
    of_train, of_valid = (Counter(run for held in side for run in held) for side in (trained, evaluated))
    likely_valid, likely_train = _likely(evaluated, of_train, 1), _likely(trained, of_valid, 1)
    return Twins(len(valid), _paired(train, trained, likely_train, valid, evaluated, likely_valid))


def _own_runs(rows: Sequence[Example]) -> list[Runs]:
    """The runs of each row that are not of a pattern; none where too few are left."""
    runs = [_runs(row) for row in rows]
    counts = Counter(run for held in runs for run in held)
    most = max(MANY * len(rows), 2 * WORDS)
    common = {run for run, count in counts.items() if count > most}
    own = [held - common for held in runs] if common else runs
    return [held if len(held) >= FEWEST else set() for held in own]


def _runs(row: Example) -> Runs:
    words = " ".join(row.strings()).lower().split()
    return {" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)}


def _likely(runs: Sequence[Runs], counts: Counter[str], times: int) -> list[int]:
    """Rows that can have a twin: nearly all of their runs come so many times. In most data there is none, and nothing is left to compare."""
    return [
        at for at, held in enumerate(runs) if held and sum(counts[run] >= times for run in held) >= ALIKE * len(held)
    ]


def _paired(
    rows: Sequence[Example],
    runs: Sequence[Runs],
    likely: Sequence[int],
    others: Sequence[Example],
    other_runs: Sequence[Runs],
    likely_others: Sequence[int],
) -> list[tuple[Example, Example]]:
    """Each of `others` that is nearly one of `rows`, and that one; where both are the same rows, an earlier one. Equal rows are no twins."""
    if not likely or not likely_others:
        return []
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, BAND))
    within = rows is others
    hashes = dict(zip(likely, _hashes(runs, likely), strict=True))
    if not within:
        for at in likely:
            index.insert(at, hashes[at])
    asked = hashes if within else dict(zip(likely_others, _hashes(other_runs, likely_others), strict=True))
    pairs = []
    for at in likely_others:
        twin = next(
            (
                near
                for near in sorted(index.query(asked[at]))
                if _alike(rows[near], runs[near], others[at], other_runs[at])
            ),
            None,
        )
        if twin is not None:
            pairs.append((rows[twin], others[at]))
        elif within:
            index.insert(at, asked[at])
    return pairs


def _hashes(runs: Sequence[Runs], chosen: Sequence[int]) -> list[Any]:
    from datasketch import MinHash

    written = [[run.encode("utf-8", "surrogatepass") for run in runs[at]] for at in chosen]
    return list(MinHash.bulk(written, num_perm=PERMUTATIONS, seed=1, hashfunc=zlib.crc32))


def _alike(one: Example, runs: Runs, other: Example, others: Runs) -> bool:
    return len(runs & others) >= ALIKE * len(runs | others) and one.key() != other.key()
