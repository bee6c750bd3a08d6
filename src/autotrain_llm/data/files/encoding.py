"""The encoding that a text which is not UTF-8 was probably saved in, and how it reads in it, so that a wrong guess is seen."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LOOKED_AT = 1 << 16
SHOWN = 40  # characters of the text
# Letters of two bytes have no byte below 0x30; keys and punctuation of JSON would make every language look like English.
WORDS = re.compile(rb"[^\x00-\x2f]*[\x80-\xff][^\x00-\x2f]*")
# What CP1252 adds to ASCII in the languages of western Europe; the rest of it is rare there, and common in misread texts.
WESTERN = frozenset("ÄÖÜäöüßàâæçéèêëîïôœùûüÿñáíóúåøÅØÆãõìòÀÂÉÈÊËÎÏÔÇÑÁÍÓÚÃÕ¿¡«»‘’“”–—…€°£§©®·´ºª\xa0")
HEBREW = frozenset(range(0xE0, 0xFB))  # the letters in CP1255
FEWEST = 8  # letters that tell


class LikelyEncoding(NamedTuple):
    """The name that iconv has for an encoding, and the beginning of what is not ASCII in it."""

    name: str
    sample: str


def likely_encoding(data: bytes) -> LikelyEncoding | None:
    """The encoding of a text; None if it is none that is known. `data` begins with the first line that is not UTF-8."""
    if data.startswith(UTF16_MARKS):
        return LikelyEncoding("UTF-16", _sample(data, "utf-16"))
    words = WORDS.findall(data[:LOOKED_AT])
    name = _by_letters(words) or _by_statistics(b" ".join(words))
    if name is None:
        return None
    try:
        return LikelyEncoding(_for_iconv(name), _sample(data, name))
    except UnicodeError:  # UTF-16 and UTF-32 begin with a mark, and this text does not
        return None


def _by_letters(words: list[bytes]) -> str | None:
    """Western European languages and Hebrew, which statistics take for others."""
    high = [byte for word in words for byte in word if byte >= 0x80]
    try:
        letters = bytes(high).decode("cp1252")
    except UnicodeDecodeError:
        return None
    if len(high) * 2 <= sum(map(len, words)) and WESTERN.issuperset(letters):
        return "cp1252"
    return "cp1255" if len(high) >= FEWEST and HEBREW.issuperset(high) else None


def _by_statistics(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    return best.encoding if best is not None else None


def _for_iconv(encoding: str) -> str:
    names = {"euc_jis_2004": "EUC-JISX0213", "euc_jisx0213": "EUC-JISX0213", "shift_jis_2004": "SHIFT_JISX0213"}
    return names.get(encoding) or codecs.lookup(encoding).name.upper()


def _sample(data: bytes, encoding: str) -> str:
    """Some words around the first that is not ASCII."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(data[:LOOKED_AT])
    first = next((index for index, letter in enumerate(text) if not letter.isascii() and letter != "\ufeff"), 0)
    start = max(text.rfind("\n", 0, first), text.rfind('"', 0, first), first - SHOWN // 2) + 1
    return text[start : start + SHOWN].split("\n")[0].split('"')[0].strip()
