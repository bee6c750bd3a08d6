"""The teacher's top-k log-probabilities at each target, cached on disk as memory-mapped arrays next to the prepared rows."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotrain_llm.data.bounded_caches import mark_used
from autotrain_llm.data.tokenize.teacher_rows import ManyRows, targets_of
from autotrain_llm.declare import digests
from autotrain_llm.run.algorithms.distill.dataset import Collate
from autotrain_llm.run.engine.flat.distillation_loss import TopKLogprobs

# Increase it when the same rows, weights and settings give other values than before.
FORMAT = 2
DOCUMENT = "kept.json"
BLOCK = 1 << 20  # bytes
FILES = "files"  # the key of their sizes and digests
TYPES = {"ids": np.int32, "logprobs": np.float32, "rest": np.float32}


def cache_path(folder: Path | None, *settings: object) -> Path | None:
    """The folder of one teacher's log-probabilities for one split; None if nothing is cached."""
    if folder is None:
        return None
    return folder / hashlib.blake2b(json.dumps([FORMAT, *settings]).encode(), digest_size=16).hexdigest()


def offsets_of(rows: ManyRows) -> np.ndarray:
    """The index of each row's first target among the targets of all rows: (rows + 1,)."""
    counts = [len(targets_of(trained)) for _, trained in (rows[index] for index in range(len(rows)))]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@dataclass
class CachedTopK:
    """The `top_k` likeliest tokens of each target.

    ids: (targets, k). logprobs: (targets, k), at the distillation temperature. rest: (targets,), the log of the probability of all
    other tokens together. offsets: (rows + 1,), the index of each row's first target.
    """

    ids: np.ndarray
    logprobs: np.ndarray
    rest: np.ndarray
    offsets: np.ndarray

    @property
    def coverage(self) -> float:
        """The mean probability of the cached tokens together, from 0 to 1."""
        return 1.0 - float(np.exp(self.rest, dtype=np.float64).mean()) if len(self.rest) else 1.0

    def gather(self, indices: Sequence[int], collate: Collate) -> dict[str, Any]:
        """The cached values of these rows, concatenated, as `topk_logprobs`."""
        spans = [slice(int(self.offsets[index]), int(self.offsets[index + 1])) for index in indices]
        arrays = {
            name: np.concatenate([getattr(self, name)[span] for span in spans or [slice(0, 0)]]) for name in TYPES
        }
        ids = torch.from_numpy(arrays["ids"].astype(np.int64))
        logprobs, rest = torch.from_numpy(arrays["logprobs"]), torch.from_numpy(arrays["rest"])
        return {"topk_logprobs": {"ids": ids, "logprobs": logprobs, "rest": rest}}


class CacheWriter:
    """Fills the arrays row by row: in a temporary folder next to `path`, or in memory if that cannot be written."""

    def __init__(self, path: Path | None, offsets: np.ndarray, top_k: int) -> None:
        self.path, self.offsets = path, offsets
        self.temporary = self._make_temporary()
        total = int(offsets[-1])
        shapes = {"ids": (total, top_k), "logprobs": (total, top_k), "rest": (total,)}
        self.arrays = {name: self._array(name, shape) for name, shape in shapes.items()}

    def _make_temporary(self) -> Path | None:
        if self.path is None:
            return None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        except OSError:  # a cache that cannot be written only means that the next run computes it again
            return None

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if self.temporary is None or 0 in shape:  # an empty array can't be memory-mapped
            return np.zeros(shape, dtype=TYPES[name])
        path = self.temporary / f"{name}.npy"
        try:
            # Allocated before it is mapped: the first write to a page that the disk has no room for would kill the process (SIGBUS).
            allocate(path, shape, TYPES[name])
        except OSError:
            self._give_up_the_folder()
            return np.zeros(shape, dtype=TYPES[name])
        return np.load(path, mmap_mode="r+", allow_pickle=False)

    def _give_up_the_folder(self) -> None:
        """The rest is kept in memory: a cache that can't be written only means that the next run computes it again. Arrays that are mapped already
        stay usable, because a file that is open outlives its name."""
        self.abandon()
        self.temporary = None

    def put(self, rows: range, topk: TopKLogprobs) -> None:
        """Write the values at the targets of these rows, in their order."""
        span = slice(int(self.offsets[rows.start]), int(self.offsets[rows.stop]))
        for name, array in self.arrays.items():
            array[span] = getattr(topk, name).cpu().numpy()

    def finish(self) -> CachedTopK:
        """Move the finished folder to `path`, atomically."""
        if self.temporary is not None and self.path is not None:
            try:
                self._commit(self.temporary, self.path)
            except OSError:
                shutil.rmtree(self.temporary, ignore_errors=True)
        return CachedTopK(**self.arrays, offsets=self.offsets)

    def _commit(self, temporary: Path, path: Path) -> None:
        for name, array in self.arrays.items():
            if isinstance(array, np.memmap):
                array.flush()
            else:
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        # Written last: a folder without it is incomplete, and `read` ignores it.
        document = {"targets": int(self.offsets[-1]), FILES: digests.listed(temporary, temporary.glob("*.npy"))}
        (temporary / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
        if path.exists():
            shutil.rmtree(path)  # `read` found it damaged
        temporary.rename(path)

    def abandon(self) -> None:
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)


def read(path: Path | None, offsets: np.ndarray, top_k: int) -> CachedTopK | None:
    """The cached arrays, memory-mapped; None if there are none or they are damaged."""
    if path is None:
        return None
    try:
        files = json.loads((path / DOCUMENT).read_text(encoding="utf-8"))[FILES]
        if not all(digests.is_unchanged(path / f"{name}.npy", files[f"{name}.npy"]) for name in TYPES):
            return None
        arrays = {name: _load(path / f"{name}.npy") for name in TYPES}
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    total = int(offsets[-1])
    shapes = {"ids": (total, top_k), "logprobs": (total, top_k), "rest": (total,)}
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        return None
    mark_used(path)
    return CachedTopK(**arrays, offsets=offsets)


def allocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Write an array of zeros in `numpy.save`'s format, with room on the disk for all of it. Raises OSError if there is none."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), file.tell(), size)
            return
        for start in range(0, size, BLOCK):  # macOS
            file.write(bytes(min(BLOCK, size - start)))


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty file can't be mapped
        return np.load(path, allow_pickle=False)
