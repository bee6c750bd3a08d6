"""Whether two models are the same files, and what a model's weights are called by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.models.locate import HUB, Located
from autotrain_llm.models.metadata import ModelMetadata

LOOKED_AT = 1 << 16  # bytes at the start, the middle and the end of a file
READ_AT_ONCE = 1 << 24


def same_weights(one: ModelMetadata, other: ModelMetadata) -> bool:
    """Whether both have the same weight files: in the same place, or of the same sizes with the same bytes where it was looked."""
    left, right = (list(_weight_files(facts.located)) for facts in (one, other))
    if not left or [path.name for path in left] != [path.name for path in right]:
        return False
    return all(_look_alike(mine, theirs) for mine, theirs in zip(left, right, strict=True))


def _weight_files(located: Located) -> Iterator[Path]:
    """An adapter's weights with those of what it sits on."""
    if located.base is not None:
        yield from _weight_files(located.base)
    if located.folder is not None:
        yield from sorted(located.folder.glob("*.safetensors"))


def _look_alike(one: Path, other: Path) -> bool:
    size = one.stat().st_size
    if size != other.stat().st_size:
        return False
    if one.resolve() == other.resolve():
        return True
    with one.open("rb") as left, other.open("rb") as right:
        for start in {0, max(0, size // 2 - LOOKED_AT // 2), max(0, size - LOOKED_AT)}:
            left.seek(start)
            right.seek(start)
            if left.read(LOOKED_AT) != right.read(LOOKED_AT):
                return False
    return True


def content_of(located: Located, remembered: Path | None = None) -> str:
    """A name for what a model says: the same for the same files, wherever they lie. A model on the Hub is named by its commit.

    Where `remembered` names a file, digests are kept in it by path, size and time of change, so that no weight is read twice.
    """
    digest = hashlib.blake2b(digest_size=16)
    if located.base is not None:
        digest.update(content_of(located.base, remembered).encode())
    folder = located.folder
    if located.kind == HUB and folder is not None:
        digest.update(f"{located.name}@{folder.name}".encode())
    elif folder is not None:
        for path in [*sorted(folder.glob("*.safetensors")), folder / "config.json", folder / "adapter_config.json"]:
            if path.is_file():
                digest.update(f"{path.name} {_digest_of(path, remembered)}\n".encode())
    return digest.hexdigest()


def _digest_of(path: Path, remembered: Path | None) -> str:
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    known = _read(remembered)
    if key not in known:
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while part := file.read(READ_AT_ONCE):
                digest.update(part)
        known[key] = digest.hexdigest()
        _write(remembered, known)
    return known[key]


def _read(remembered: Path | None) -> dict[str, str]:
    try:
        return json.loads(remembered.read_text(encoding="utf-8")) if remembered is not None else {}
    except (OSError, ValueError):
        return {}


def _write(remembered: Path | None, known: dict[str, str]) -> None:
    """Put the digests there; where that can't be done, files are read again."""
    if remembered is None:
        return
    beside = remembered.with_suffix(f".{len(known)}.tmp")
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(known), encoding="utf-8")
        beside.replace(remembered)
    except OSError:
        return
