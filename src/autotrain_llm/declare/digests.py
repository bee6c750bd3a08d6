"""What files hold, as a digest that changes with any byte: for checkpoints that are resumed and caches that are read again.

A digest is over the CRC-32 of each piece of the file: it finds damage, not forgery. The pieces are read in parallel, several GB a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECE = 16 << 20  # bytes
BYTES, DIGEST = "bytes", "digest"


def digest(path: Path) -> str:
    """The digest of a file's content. Raises OSError if it can't be read."""
    import hashlib
    import zlib
    from concurrent.futures import ThreadPoolExecutor

    descriptor = os.open(path, os.O_RDONLY)
    try:

        def piece(start: int) -> int:
            return zlib.crc32(os.pread(descriptor, PIECE, start))

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            sums = list(pool.map(piece, range(0, os.fstat(descriptor).st_size, PIECE)))
    finally:
        os.close(descriptor)
    return hashlib.blake2b(b"".join(part.to_bytes(4, "little") for part in sums), digest_size=16).hexdigest()


def listed(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The size and digest of each file, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): {BYTES: path.stat().st_size, DIGEST: digest(path)}
        for path in sorted(paths)
    }


def is_unchanged(path: Path, entry: Any) -> bool:
    """Whether a file still has the content that `listed` recorded."""
    if not isinstance(entry, dict):
        return False
    try:
        return path.stat().st_size == entry.get(BYTES) and digest(path) == entry.get(DIGEST)
    except OSError:
        return False
