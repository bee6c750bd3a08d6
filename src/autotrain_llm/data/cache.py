"""Prepared rows on disk: one folder per content and settings, plain arrays and JSON, written to a temporary folder and moved into place.

Each array is a file, `train.ids.npy`. Of more than a million rows there is a set of files for each million, `train-00000-of-00003.ids.npy`, and all are
mapped when they are loaded.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from autotrain_llm.data.rows import ARRAYS, OPTIONAL, PARTS, PER_TOKEN, PairRows, Rows, StoredRows, TokenRows
from autotrain_llm.declare import digests

DOCUMENT = "prepared.json"
FILES = "files"  # the key of the arrays' sizes and digests
CODE = "code"  # the key of the digest of the code that read the rows
OFFSETS = ".offsets.npy"
MOST_ROWS = 1_000_000  # of a set of files
BLOCK = 1 << 20


@functools.cache
def code_digest() -> str:
    """A digest of the code that reads rows and finds what is wrong with them: another version may find more in the same rows."""
    root = Path(__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(root.rglob("*.py")))
    return hashlib.blake2b(sources, digest_size=16).hexdigest()


def save(folder: Path, fingerprint: str, rows: dict[str, Rows], document: dict[str, Any]) -> None:
    """Write prepared rows. Two processes may write the same: the first to finish stays, and no reader sees half a folder."""
    target = folder / fingerprint
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{fingerprint}.", dir=folder))
    except OSError:  # a folder that can't be written: preparing again costs time, not rows
        return
    parts = {f"{name}.{part}" if part else name: own for name, one in rows.items() for part, own in one.sides.items()}
    try:
        for name, part in parts.items():
            for suffix, own in _file_sets(len(part)):
                _write_set(beside, f"{name}{suffix}", part, own)
        content = {**document, CODE: code_digest(), FILES: digests.listed(beside, beside.glob("*.npy"))}
        (beside / DOCUMENT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        if load(folder, fingerprint, by_this_code=True) is None:
            shutil.rmtree(target, ignore_errors=True)  # what is damaged or of another version makes room
        beside.rename(target)
    except OSError:
        # Another process has put the same rows there meanwhile, or the disk is full.
        shutil.rmtree(beside, ignore_errors=True)


def _file_sets(rows: int) -> list[tuple[str, range]]:
    """The rows of each set of files, and what its names end with: nothing where there is one set."""
    starts = range(0, rows, MOST_ROWS)
    if len(starts) < 2:
        return [("", range(rows))]
    return [
        (f"-{number:05d}-of-{len(starts):05d}", range(start, min(start + MOST_ROWS, rows)))
        for number, start in enumerate(starts)
    ]


def _write_set(folder: Path, name: str, rows: TokenRows, own: range) -> None:
    """Write some rows, which follow one another, as a set of files."""
    offsets = rows.offsets[own.start : own.stop + 1]
    tokens = range(int(offsets[0]), int(offsets[-1]))
    for array_name, array in rows.arrays().items():
        path = folder / f"{name}.{array_name}.npy"
        if array_name == "offsets":
            _write(path, offsets - offsets[0], range(len(offsets)))
        else:
            _write(path, array, tokens if array_name in PER_TOKEN else own)


def _write(path: Path, array: Any, part: range) -> None:
    """Write a part of an array in `numpy.save`'s format. A memory-mapped array is copied from its file, so that it is never in memory as a whole."""
    import numpy

    mapped = array.filename if isinstance(array, numpy.memmap) else None
    written = array[part.start : part.stop]
    if mapped is None or Path(mapped).stat().st_size != array.nbytes:
        numpy.save(path, written, allow_pickle=False)
        return
    with path.open("wb") as file, Path(mapped).open("rb") as source:
        numpy.lib.format.write_array_header_1_0(file, numpy.lib.format.header_data_from_array_1_0(written))
        source.seek(part.start * array.strides[0])
        left = written.nbytes
        while left and (block := source.read(min(BLOCK, left))):
            file.write(block)
            left -= len(block)


def load(
    folder: Path, fingerprint: str, *, by_this_code: bool = False
) -> tuple[dict[str, Rows], dict[str, Any]] | None:
    """Load what `save` wrote, memory-mapped; None if it is missing or damaged, or was read by another version where it has to be `by_this_code`."""
    cached = folder / fingerprint
    try:
        document = json.loads((cached / DOCUMENT).read_text(encoding="utf-8"))
        if by_this_code and document.get(CODE) != code_digest():
            return None
        # Damage that keeps the shape of an array would train other rows without a word.
        if not all(digests.is_unchanged(cached / name, entry) for name, entry in document[FILES].items()):
            return None
        rows = {name: _load_rows(cached, name) for name in ("train", "valid")}
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        return None
    return rows, document


def _load_rows(folder: Path, name: str) -> Rows:
    if any(folder.glob(f"{name}.prompt*.offsets.npy")):
        return PairRows(*(_load_part(folder, f"{name}.{part}") for part in PARTS))
    return _load_part(folder, name)


def _load_part(folder: Path, name: str) -> TokenRows:
    sets = sorted(path.name.removesuffix(OFFSETS) for path in folder.glob(f"{name}-*{OFFSETS}"))
    return StoredRows([_load_set(folder, one) for one in sets]) if sets else _load_set(folder, name)


def _load_set(folder: Path, name: str) -> TokenRows:
    import numpy

    arrays: dict[str, Any] = {}
    for array_name in ARRAYS:
        path = folder / f"{name}.{array_name}.npy"
        if array_name in OPTIONAL and not path.is_file():
            continue
        # An empty file can't be mapped.
        try:
            arrays[array_name] = numpy.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:
            arrays[array_name] = numpy.load(path, allow_pickle=False)
    rows = TokenRows(**arrays)
    if len(rows.ids) != len(rows.loss_mask) or int(rows.offsets[-1]) != len(rows.ids):
        raise ValueError(f"{name} is damaged")
    return rows
