"""Hold out evaluation rows of each source of a mixture before it is mixed: rows with the same content stay on one side in all sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autotrain_llm.data.load.split import drawn

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
            shuffled = numpy.random.default_rng((seed, index)).permutation
            is_held_out[free[drawn(own[free], count - int(is_held_out.sum()), shuffled)]] = True
            trained = numpy.concatenate([trained, own[~is_held_out]])
            held_out = numpy.concatenate([held_out, own[is_held_out]])
        masks.append(is_held_out)
    return masks
