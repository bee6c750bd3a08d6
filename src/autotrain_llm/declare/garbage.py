"""Garbage collection where there are many objects that are no garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_frozen = False


@contextmanager
def existing_objects_frozen() -> Iterator[None]:
    """Inside, garbage collections skip the objects that exist already: rows, and hundreds of thousands of the libraries.

    Inside another such block it does nothing: thawing would end that one too, and what became garbage since then could not be collected.
    """
    global _frozen
    if _frozen:
        yield
        return
    gc.freeze()
    _frozen = True
    try:
        yield
    finally:
        gc.unfreeze()
        _frozen = False
