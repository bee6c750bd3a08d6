"""Whether two models have the same weights, whether a base is the one that an adapter was trained on, and a digest of a model's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from autotrain_llm.declare.parts import SHARDED_MODEL
from autotrain_llm.models.locate import HUB, Located, read_json
from autotrain_llm.models.metadata import ModelMetadata

BASE_KEY = "base_weights"  # in run.json
RUN_FILE, CHECKPOINTS = "run.json", "checkpoints"
SAMPLE_BYTES = 1 << 16  # bytes at the start, the middle and the end of a file
CHUNK_BYTES = 1 << 24


def same_weights(one: ModelMetadata, other: ModelMetadata) -> bool:
    """Whether both have the same weight files: the same paths, or equal sizes and equal bytes at start, middle and end.
    Of a model that an earlier stage will write, only where it is going to be is known."""
    if one.located.planned or other.located.planned:
        return one.located.planned == other.located.planned
    files, other_files = (list(_weight_files(metadata.located)) for metadata in (one, other))
    if not files or [path.name for path in files] != [path.name for path in other_files]:
        return False
    return all(_same_bytes(mine, theirs) for mine, theirs in zip(files, other_files, strict=True))


def _weight_files(located: Located) -> Iterator[Path]:
    """An adapter's weight files and its base model's."""
    if located.base is not None:
        yield from _weight_files(located.base)
    if located.folder is not None:
        yield from safetensors_in(located.folder)


def safetensors_in(folder: Path) -> list[Path]:
    """The weight files of a folder, and the parts of a model that several processes wrote."""
    return [*sorted(folder.glob("*.safetensors")), *sorted((folder / SHARDED_MODEL).glob("*.safetensors"))]


def _same_bytes(one: Path, other: Path) -> bool:
    size = one.stat().st_size
    if size != other.stat().st_size:
        return False
    if one.resolve() == other.resolve():
        return True
    with one.open("rb") as left, other.open("rb") as right:
        for start in {0, max(0, size // 2 - SAMPLE_BYTES // 2), max(0, size - SAMPLE_BYTES)}:
            left.seek(start)
            right.seek(start)
            if left.read(SAMPLE_BYTES) != right.read(SAMPLE_BYTES):
                return False
    return True


def weights_of_base(located: Located) -> dict[str, str]:
    """A digest of each weight file of a whole model, by its name; of an adapter those of its base. Large files are sampled. Empty where no weights are
    at hand, as of a model on the Hub before it is downloaded."""
    from autotrain_llm.declare.digests import sampled_digest

    while located.base is not None:
        located = located.base
    folder = located.folder
    return {path.name: sampled_digest(path) for path in safetensors_in(folder)} if folder is not None else {}


def weights_trained_on(adapter: Path) -> dict[str, str]:
    """`weights_of_base` of the base that an adapter was trained on, as the run of its folder has recorded them; empty if it has not."""
    run = adapter.parent.parent if adapter.parent.name == CHECKPOINTS else adapter
    recorded = (read_json(run / RUN_FILE) or {}).get(BASE_KEY)
    return recorded if isinstance(recorded, dict) else {}


def changed_weights(adapter: Path, base: Located) -> list[str]:
    """The weight files of a base that are not those that an adapter was trained on: other ones, or missing. None where either is not known."""
    recorded = weights_trained_on(adapter)
    present = weights_of_base(base) if recorded else {}
    return (
        [name for name in sorted({*recorded, *present}) if recorded.get(name) != present.get(name)] if present else []
    )


def content_of(located: Located, digest_file: Path | None = None) -> str:
    """A digest of a model's weights and config: the same for the same files in any folder. A model on the Hub is identified by its commit.
    Digests are cached in `digest_file` by path, size and modification time, so that no weight file is read twice."""
    digest = hashlib.blake2b(digest_size=16)
    if located.base is not None:
        digest.update(content_of(located.base, digest_file).encode())
    folder = located.folder
    if located.kind == HUB and folder is not None:
        digest.update(f"{located.name}@{folder.name}".encode())
    elif folder is not None:
        for path in [*safetensors_in(folder), folder / "config.json", folder / "adapter_config.json"]:
            if path.is_file():
                digest.update(f"{path.name} {_digest_of(path, digest_file)}\n".encode())
    return digest.hexdigest()


def _digest_of(path: Path, digest_file: Path | None) -> str:
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    digests = _read(digest_file)
    if key not in digests:
        digest = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while part := file.read(CHUNK_BYTES):
                digest.update(part)
        digests[key] = digest.hexdigest()
        _write(digest_file, digests)
    return digests[key]


def _read(digest_file: Path | None) -> dict[str, str]:
    try:
        return json.loads(digest_file.read_text(encoding="utf-8")) if digest_file is not None else {}
    except (OSError, ValueError):
        return {}


def _write(digest_file: Path | None, digests: dict[str, str]) -> None:
    """Save the digests; if that fails, the files are read again the next time."""
    if digest_file is None:
        return
    temporary = digest_file.with_suffix(f".{len(digests)}.tmp")
    try:
        digest_file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(digests), encoding="utf-8")
        temporary.replace(digest_file)
    except OSError:
        return
