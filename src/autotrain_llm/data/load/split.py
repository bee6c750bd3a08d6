"""Training and evaluation rows apart: a seeded hold-out that never parts identical rows, and what both have in common."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autotrain_llm.data.disk_examples import keys_of, select_rows
from autotrain_llm.data.example import Example


def rows_to_hold_out(valid_split: str, rows: int) -> int | None:
    """How many of `rows` rows a hold-out of this share or number means; None where it is neither."""
    try:
        value = float(valid_split)
    except ValueError:
        return None
    if value <= 0 or (value >= 1 and "." in valid_split):
        return 0  # neither a share of the rows nor a number of them
    return round(rows * value) or 1 if value < 1 else int(value)


def hold_out(examples: Sequence[Example], count: int, seed: int) -> tuple[Sequence[Example], Sequence[Example]]:
    """Rows to train on and about `count` rows to evaluate on; rows with the same content stay on one side, in their order."""
    import numpy

    _, first, group = numpy.unique(keys_of(examples), return_index=True, return_inverse=True)
    sizes = numpy.bincount(group)
    shuffled = numpy.argsort(first).tolist()  # groups in the order in which they are met
    random.Random(seed).shuffle(shuffled)
    valid_groups: list[int] = []
    rows = 0
    for group_index in shuffled:
        if rows + sizes[group_index] <= count:
            valid_groups.append(group_index)
            rows += int(sizes[group_index])
        if rows >= count:
            break
    is_valid = numpy.isin(group, valid_groups)
    return select_rows(examples, numpy.flatnonzero(~is_valid)), select_rows(examples, numpy.flatnonzero(is_valid))


def possible_share(examples: Sequence[Example], seed: int) -> float | None:
    """A share or a number of rows that leaves rows on both sides; None where there is none, as where all rows are the same."""
    rows = len(examples)
    for share in (0.1, 1, 0.5, rows - 1):
        count = rows_to_hold_out(str(share), rows) or 0
        if 0 < count < rows and (share >= 1 or rows >= 10) and all(hold_out(examples, count, seed)):
            return share
    return None
