"""What files hold, as a digest that changes with any byte: for checkpoints that are resumed and caches that are read again; or of samples, for weights that are too many to be read.

`digest` is over the CRC-32 of each piece of the file: it finds damage, not forgery. The pieces are read in parallel, several GB a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECE = 16 << 20  # bytes
BYTES, DIGEST = "bytes", "digest"
WHOLE = 64 << 20  # bytes up to which `sampled_digest` reads a file as a whole
END, SAMPLE, SAMPLES = 1 << 20, 4 << 10, 64  # bytes of each end of a larger one, and of each sample in between


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


def sampled_digest(path: Path) -> str:
    """A digest that tells files of weights apart without reading all of them: of a file up to 64 MiB all of it; of a larger one its size, the header
    of safetensors, the first and the last MiB, and 64 pieces in between. Raises OSError if it can't be read."""
    import hashlib

    size = path.stat().st_size
    summary = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= WHOLE:
            while piece := file.read(END):
                summary.update(piece)
            return summary.hexdigest()
        length = int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" else 0
        file.seek(0)
        summary.update(file.read(max(END, min(length + 8, WHOLE))))
        for index in range(SAMPLES):
            file.seek(size * (index + 1) // (SAMPLES + 1))
            summary.update(file.read(SAMPLE))
        file.seek(-END, os.SEEK_END)
        summary.update(file.read(END))
    return summary.hexdigest()


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
