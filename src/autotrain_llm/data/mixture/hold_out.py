"""Hold out evaluation rows of each source of a mixture before it is mixed: rows with the same content stay on one side in all sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray


def hold_out_of_sources(keys: Sequence[ndarray], counts: Sequence[int | None], seed: int) -> list[ndarray]:
    """Which rows of each source are evaluation rows (rows,), about as many as `counts`; None for a source of which none are.

    `keys` are equal for rows with the same content. A row that a source shares with one that was drawn before is on the same side there.
    """
    import numpy

    none = numpy.zeros(0, dtype=numpy.uint64)
    trained = numpy.concatenate([none, *(own for own, count in zip(keys, counts, strict=True) if count is None)])
    held_out = none
    masks = []
    for index, (own, count) in enumerate(zip(keys, counts, strict=True)):
        is_held_out = numpy.zeros(len(own), dtype=bool)
        if count is not None:
            is_held_out = numpy.isin(own, held_out)
            free = numpy.flatnonzero(~is_held_out & ~numpy.isin(own, trained))
            is_held_out[free[_drawn(own[free], count - int(is_held_out.sum()), (seed, index))]] = True
            trained = numpy.concatenate([trained, own[~is_held_out]])
            held_out = numpy.concatenate([held_out, own[is_held_out]])
        masks.append(is_held_out)
    return masks


def _drawn(keys: ndarray, count: int, seed: tuple[int, int]) -> ndarray:
    """Which rows are drawn (rows,): whole groups of equal rows in a seeded order, as far as they fit into `count`."""
    import numpy

    _, first, group = numpy.unique(keys, return_index=True, return_inverse=True)
    sizes = numpy.bincount(group, minlength=len(first))
    # Groups are numbered by their keys, which say nothing of their order in the data: take that first, then shuffle.
    order = numpy.random.default_rng(seed).permutation(numpy.argsort(first))
    chosen, rows = numpy.zeros(len(first), dtype=bool), 0
    for index in order.tolist():
        if rows >= count:
            break
        if rows + sizes[index] <= count:
            chosen[index], rows = True, rows + int(sizes[index])
    return chosen[group]
