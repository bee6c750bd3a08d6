"""Hold out rows for evaluation: seeded, with identical rows on the same side."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from autotrain_llm.data.disk_examples import keys_of, select_rows
from autotrain_llm.data.example import Example

if TYPE_CHECKING:
    from numpy import ndarray


def rows_to_hold_out(valid_split: str, rows: int) -> int | None:
    """The number of rows that `valid_split` holds out of `rows` rows, as a share or a number; None if it is neither."""
    try:
        value = float(valid_split)
    except ValueError:
        return None
    if not 0 < value < math.inf or (value >= 1 and "." in valid_split):
        return 0  # neither a share of the rows nor a number of them
    return round(rows * value) or 1 if value < 1 else int(value)


def hold_out(examples: Sequence[Example], count: int, seed: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Training rows, and about `count` evaluation rows, each in their order; rows with the same content stay on one side."""
    import numpy

    def shuffled(groups: ndarray) -> list[int]:
        order = groups.tolist()
        random.Random(seed).shuffle(order)
        return order

    is_valid = drawn(keys_of(examples), count, shuffled)
    return select_rows(examples, numpy.flatnonzero(~is_valid)), select_rows(examples, numpy.flatnonzero(is_valid))


def drawn(keys: ndarray, count: int, shuffled: Callable[[ndarray], Iterable[int]]) -> ndarray:
    """Which rows are drawn (rows,): whole groups of rows with the same key, in the order that `shuffled` gives them, as far as they fit into `count`."""
    import numpy

    _, first, group = numpy.unique(keys, return_index=True, return_inverse=True)
    sizes = numpy.bincount(group, minlength=len(first))
    chosen, rows = numpy.zeros(len(first), dtype=bool), 0
    # Groups are numbered by their keys, which say nothing of their order in the data: they are shuffled from that in which they are met.
    for index in shuffled(numpy.argsort(first)):
        if rows >= count:
            break
        if rows + sizes[index] <= count:
            chosen[index], rows = True, rows + int(sizes[index])
    return chosen[group]


def possible_share(examples: Sequence[Example], seed: int) -> float | None:
    """A share or a number of rows to hold out that leaves rows on both sides; None if there is none, for example if all rows are the same."""
    rows = len(examples)
    for share in (0.1, 1, 0.5, rows - 1):
        count = rows_to_hold_out(str(share), rows) or 0
        if 0 < count < rows and (share >= 1 or rows >= 10) and all(hold_out(examples, count, seed)):
            return share
    return None
