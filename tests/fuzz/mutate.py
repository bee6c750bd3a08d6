"""Damage and hostile content for seeds: bytes, JSON values, and words of a command line."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

NASTY_TEXTS = (
    "", " ", "\0", "\x1b[2J", "a\nb", "\u202egnp", "\udcff", "ÿ" * 40, "🙈", "nan", "inf", "-inf", "1e400", "-1", "0", "1.", "2**64",
    "99999999999999999999", "null", "true", "[]", "{}", "[[]]", '{"a": {"b": 1}}', "{{ 1/0 }}", "{% for x in", "${HOME}", "$(touch x)", "../..",
    "/", "/proc/self/environ", "/dev/null", "~", "~nobody", ".", "..", "a/b/c/d", "C:\\x", "https://u:p@host/x", "hf_abcdefghijklmnopqrst", "x" * 300,
    "--lr", "-", "--", "=", ",", ",,", "a,b", "1e-5,1e-4",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\ud800", [], [None], [[]], {}, {"": None},
    [0] * 50, "nan", {"a": [1, {"b": None}]},
)  # fmt: skip
NASTY_BYTES = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r\n",
    b"{",
    b"[" * 2000,
    b'"',
    b"\\u",
    b"\\ud800",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"9" * 5000,
)
FEW = 4


def mutated_bytes(content: bytes, random_numbers: random.Random) -> bytes:
    """Content with one to four pieces changed, cut, doubled, moved or replaced."""
    changed = bytearray(content)
    for _ in range(random_numbers.randint(1, FEW)):
        start = random_numbers.randrange(len(changed) + 1)
        end = min(len(changed), start + random_numbers.choice((1, 1, 2, 8, 64, 1024)))
        kind = random_numbers.randrange(6)
        if kind == 0 and start < len(changed):
            changed[start] ^= 1 << random_numbers.randrange(8)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end]
        elif kind == 3:
            changed[start:end] = random_numbers.choice(NASTY_BYTES)
        elif kind == 4:
            del changed[start:]
        else:
            changed[start:end] = random_numbers.randbytes(end - start)
    return bytes(changed)


def mutated_json(value: Any, random_numbers: random.Random) -> Any:
    """A document with one to four of its values replaced by nasty ones, removed or renamed."""
    document = copy.deepcopy(value)
    for _ in range(random_numbers.randint(1, FEW)):
        places = list(_places(document))
        if not places:
            return copy.deepcopy(random_numbers.choice(NASTY_VALUES))
        holder, key = random_numbers.choice(places)
        kind = random_numbers.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[random_numbers.choice(NASTY_TEXTS)] = holder.pop(key)
        elif kind == 2:
            holder[key] = [copy.deepcopy(holder[key])] * random_numbers.choice((1, 2, 30))
        else:
            holder[key] = copy.deepcopy(random_numbers.choice((*NASTY_VALUES, *NASTY_TEXTS)))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield value, key
        yield from _places(part)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
