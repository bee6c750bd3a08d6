"""Files that are compressed as a whole, with gzip or zstd: which they are is told by their first bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

GZIP, ZSTD = "gzip", "zstd"
MAGIC = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
SUFFIXES = (".gz", ".zst", ".zstd")


class Damaged(Exception):
    """A file that begins as a compressed one and can't be decompressed; the message is the compression."""


def packing_of(head: bytes) -> str | None:
    """How a file is compressed, by its first bytes; None if it isn't."""
    return next((packing for magic, packing in MAGIC.items() if head.startswith(magic)), None)


def without_packing(name: str) -> str:
    """A file's name without the suffix of its compression."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: -len(suffix)] if suffix else name


def unpacked(data: bytes) -> bytes:
    """The bytes of a file, decompressed if they are compressed. Raises Damaged."""
    packing = packing_of(data)
    try:
        if packing == ZSTD:
            with _zstd(io.BytesIO(data)) as file:
                return file.read()
        return gzip.decompress(data) if packing == GZIP else data
    except (OSError, EOFError, zlib.error) as problem:
        raise Damaged(packing) from problem


def opened(path: Path) -> BinaryIO:
    """A file, decompressed while it is read."""
    with path.open("rb") as file:
        packing = packing_of(file.read(4))
    if packing == ZSTD:
        return _zstd(path.open("rb"))
    return cast("BinaryIO", gzip.open(path, "rb")) if packing == GZIP else path.open("rb")


def _zstd(file: BinaryIO) -> BinaryIO:
    import pyarrow

    return cast("BinaryIO", io.BufferedReader(pyarrow.CompressedInputStream(file, ZSTD)))
