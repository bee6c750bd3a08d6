"""Texts that are turns of one conversation: names at their beginnings that alternate between two speakers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

MOST_WORDS = 4  # of a name
# A name and a colon, also in bold or brackets, and after the time of the message, as exported chats have it.
SPEAKER = re.compile(
    r"[\s*_#>(<\[]*(?:\d[\d/.,:\s-]*(?:[ap]\.?\s?m\.?)?[\s\])–-]+)?[*_<\[]*([^\W\d_][\w .'’-]{0,30}?)[*_>\]]*\s?[:：](?!//)",
    re.IGNORECASE,
)
ROLES = (
    {"user", "human", "q", "question", "prompter", "customer", "me"},
    {"assistant", "bot", "ai", "a", "answer", "chatbot", "gpt", "agent"},
)
BEGINNING = 200  # characters in which a name ends; the pattern would take very long for a long line of signs
FEWEST = 4  # turns that show that two unknown names are speakers; for each known one, one less
ALTERNATING = 0.8  # of the neighbours that differ


def two_speakers(texts: Sequence[Any]) -> tuple[str, str] | None:
    """The names of the two speakers that most of these texts begin with by turns; None if there are no such names."""
    names = [name for text in texts if (name := _speaker(text)) is not None]
    distinct = list(dict.fromkeys(name.casefold() for name in names))
    if len(distinct) != 2 or len(names) * 2 < len(texts):
        return None
    known = sum(bool({*distinct} & roles) for roles in ROLES)
    changes = sum(one.casefold() != other.casefold() for one, other in pairwise(names))
    share = ALTERNATING if known == 2 or len(names) > 2 * FEWEST else 1.0
    if len(names) < FEWEST - known or changes < share * (len(names) - 1):
        return None
    return names[0], next(name for name in names if name.casefold() == distinct[1])


def is_spoken(text: Any) -> bool:
    """Whether the lines of a text are the turns of two speakers."""
    return isinstance(text, str) and two_speakers([line for line in text.splitlines() if line.strip()]) is not None


def _speaker(text: Any) -> str | None:
    """The name that a text begins with."""
    match = SPEAKER.match(text[:BEGINNING]) if isinstance(text, str) else None
    return match[1].strip() if match and len(match[1].split()) <= MOST_WORDS else None
