"""Bytes of a file to text: gzip, the byte order mark, and what to say where it is not UTF-8."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.files import (
    a_file_can_not_be_read,
    a_file_is_not_utf8,
    a_file_starts_with_a_byte_order_mark,
)

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = {b"\xff\xfe": "UTF-16LE", b"\xfe\xff": "UTF-16BE"}
LOOKED_AT = 1 << 20
BOM = b"\xef\xbb\xbf"


def read_bytes(path: Path, name: str, observations: Observations) -> bytes | None:
    """The file's bytes, unpacked where it is gzip; None with a finding where it can't be read."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except OSError as problem:
        observations.add(a_file_can_not_be_read, file=name, case="error", detail=str(problem.strerror or problem))
    except (EOFError, zlib.error):
        observations.add(a_file_can_not_be_read, file=name, case="gzip")
    return None


def decode(data: bytes, name: str, observations: Observations) -> str | None:
    """The text of a file, or None with a finding that names the first byte that isn't UTF-8."""
    if data.startswith(BOM):
        data = data[len(BOM) :]
        observations.add(a_file_starts_with_a_byte_order_mark, file=name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        at = problem.start
        observe_not_utf8(data, data[at], at, data.count(b"\n", 0, at) + 1, name, observations)
        return None


def utf8_name(name: str) -> str:
    """`train.jsonl` -> `train.utf8.jsonl`."""
    path = Path(name)
    return str(path.with_name(f"{path.stem}.utf8{path.suffix}"))


def likely_encoding(data: bytes) -> str:
    """The encoding a text that isn't UTF-8 was probably saved in."""
    data = data[:LOOKED_AT]
    for mark, encoding in UTF16_MARKS.items():
        if data.startswith(mark):
            return encoding
    high = sum(byte >= 0x80 for byte in data)
    if _paired(data) > 0.9 * high:
        for encoding in ("gb18030", "shift_jis", "big5"):
            if _decodes(data, encoding):
                return encoding.upper()
    return "CP1252" if _decodes(data, "cp1252") else "ISO-8859-1"


def _paired(data: bytes) -> int:
    """How many high bytes stand next to another one, as in a two-byte encoding; accented letters mostly stand alone."""
    high = [byte >= 0x80 for byte in data]
    last = len(high) - 1
    return sum(is_high and ((i > 0 and high[i - 1]) or (i < last and high[i + 1])) for i, is_high in enumerate(high))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def observe_not_utf8(data: bytes, byte: int, position: int, line: int, name: str, observations: Observations) -> None:
    """The first byte that isn't UTF-8, and what a file is probably written in, by the `data` that it begins with."""
    observations.add(
        a_file_is_not_utf8,
        file=name,
        byte=byte,
        position=position,
        line=line,
        encoding=likely_encoding(data),
        converted=utf8_name(name),
    )
