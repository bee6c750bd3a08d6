"""Decode the bytes of a file: compression, the byte order mark, and the finding if the text is not UTF-8."""

from __future__ import annotations

from pathlib import Path

from autotrain_llm.data.files.encoding import likely_encoding
from autotrain_llm.data.files.packing import Damaged, unpacked
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.files import (
    a_file_can_not_be_read,
    a_file_is_not_utf8,
    a_file_starts_with_a_byte_order_mark,
)

BOM = b"\xef\xbb\xbf"


def read_bytes(path: Path, name: str, observations: Observations) -> bytes | None:
    """The file's bytes, decompressed if it is compressed; None, with a finding, if it can't be read."""
    try:
        return unpacked(path.read_bytes())
    except OSError as problem:
        observations.add(a_file_can_not_be_read, file=name, case="error", detail=str(problem.strerror or problem))
    except Damaged as problem:
        observations.add(a_file_can_not_be_read, file=name, case="packed", detail=str(problem))
    return None


def decode(data: bytes, name: str, observations: Observations) -> str | None:
    """The text of a file; None, with a finding that names the first byte that isn't UTF-8."""
    if data.startswith(BOM):
        data = data[len(BOM) :]
        observations.add(a_file_starts_with_a_byte_order_mark, file=name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        at = problem.start
        line = data[data.rfind(b"\n", 0, at) + 1 :]
        observe_not_utf8(line, data[at], at, data.count(b"\n", 0, at) + 1, name, observations)
        return None


def utf8_name(name: str) -> str:
    """`train.jsonl` -> `train.utf8.jsonl`."""
    path = Path(name)
    return str(path.with_name(f"{path.stem}.utf8{path.suffix}"))


def observe_not_utf8(data: bytes, byte: int, position: int, line: int, name: str, observations: Observations) -> None:
    """Report the first byte that isn't UTF-8, and the probable encoding, judged from `data`, which begins with the line of that byte."""
    likely = likely_encoding(data)
    observations.add(
        a_file_is_not_utf8,
        file=name,
        byte=byte,
        position=position,
        line=line,
        encoding=likely.name if likely else "",
        sample=likely.sample if likely else "",
        converted=utf8_name(name),
    )
