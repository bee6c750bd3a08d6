"""The rows of `--max-samples`: as many as are wanted, chosen by the seed among all of some tables, in the order of the tables."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autotrain_llm.data.files.read import Table


def sampled(tables: Sequence[Table], sizes: Sequence[int], most: int, seed: int) -> list[Table]:
    """The tables with `most` of their rows, together; `sizes` are their numbers of rows. With fewer rows, all of them."""
    total = sum(sizes)
    if total <= most:
        return list(tables)
    is_chosen = bytearray(total)
    for index in random.Random(seed).sample(range(total), most):
        is_chosen[index] = 1
    chosen, start = [], 0
    for table, size in zip(tables, sizes, strict=True):
        chosen.append(table.selected(is_chosen[start : start + size]))
        start += size
    return chosen
