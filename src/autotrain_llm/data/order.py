"""The order in which rows are learnt from: the same for whoever trains and for whoever reckons beforehand what a step takes."""

from __future__ import annotations

from typing import Any


def order_of_epoch(count: int, seed: int | None, epoch: int) -> Any:
    """The numbers of `count` items as an epoch takes them (count,); without a seed as they lie."""
    import numpy

    if seed is None:
        return numpy.arange(count)
    return numpy.random.default_rng((seed, epoch)).permutation(count)
