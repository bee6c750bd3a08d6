"""Suggest the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def same_spelling(word: str, other: str) -> bool:
    """Whether two names are the same but for case, spaces, dashes and underscores."""
    return _bare(word) == _bare(other)


def _bare(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter not in " -_")


def nearest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The most similar of `names`, or None if none is similar enough."""
    from difflib import get_close_matches

    table = {_plain(name): name for name in names}
    match = get_close_matches(_plain(word), list(table), n=1, cutoff=cutoff)
    return table[match[0]] if match else None


def _plain(word: str) -> str:
    return word.strip().casefold().replace("-", "_").replace(" ", "_")
