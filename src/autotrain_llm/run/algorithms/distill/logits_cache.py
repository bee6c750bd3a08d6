"""The teacher's top-k log-probabilities at each target, in memory-mapped arrays, cached by content beside the prepared rows."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotrain_llm.data.tokenize.teacher_rows import ManyRows, targets_of
from autotrain_llm.run.algorithms.distill.dataset import Collate
from autotrain_llm.run.engine.flat.distillation_loss import TopKLogprobs

# Raised when the same rows, weights and settings give other numbers than before.
FORMAT = 1
DOCUMENT = "kept.json"
TYPES = {"ids": np.int32, "logprobs": np.float32, "rest": np.float32}


def cache_path(folder: Path | None, *settings: object) -> Path | None:
    """The cache folder of one teacher on one side of the rows; None without a cache folder."""
    if folder is None:
        return None
    return folder / hashlib.blake2b(json.dumps([FORMAT, *settings]).encode(), digest_size=16).hexdigest()


def offsets_of(rows: ManyRows) -> np.ndarray:
    """The index of each row's first target among those of all rows: (rows + 1,)."""
    counts = [len(targets_of(trained)) for _, trained in (rows[number] for number in range(len(rows)))]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@dataclass
class CachedTopK:
    """The top-k tokens of each target: `ids` (targets, k), `logprobs` (targets, k) at the temperature, `rest` (targets,) the log-probability of all other
    tokens; `offsets` are the index of each row's first target."""

    ids: np.ndarray
    logprobs: np.ndarray
    rest: np.ndarray
    offsets: np.ndarray

    @property
    def share(self) -> float:
        """The mean probability that the top-k tokens cover."""
        return 1.0 - float(np.exp(self.rest, dtype=np.float64).mean()) if len(self.rest) else 1.0

    def gather(self, numbers: Sequence[int], collate: Collate) -> dict[str, Any]:
        """The cached values of these rows, one after the other, as `topk_logprobs`."""
        parts = [slice(int(self.offsets[number]), int(self.offsets[number + 1])) for number in numbers]
        held = {name: np.concatenate([getattr(self, name)[part] for part in parts or [slice(0, 0)]]) for name in TYPES}
        ids = torch.from_numpy(held["ids"].astype(np.int64))
        return {"topk_logprobs": {"ids": ids, **{name: torch.from_numpy(held[name]) for name in ("logprobs", "rest")}}}


class CacheWriter:
    """Fills the arrays row by row, in a temporary folder beside the cache folder, or in memory where that cannot be written."""

    def __init__(self, place: Path | None, offsets: np.ndarray, top_k: int) -> None:
        self.place, self.offsets = place, offsets
        self.beside = self._folder()
        total = int(offsets[-1])
        shapes = {"ids": (total, top_k), "logprobs": (total, top_k), "rest": (total,)}
        self.arrays = {name: self._array(name, shape) for name, shape in shapes.items()}

    def _folder(self) -> Path | None:
        if self.place is None:
            return None
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f".{self.place.name}.", dir=self.place.parent))
        except OSError:  # what can't be kept is asked again
            return None

    def _array(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if self.beside is None or 0 in shape:  # nothing can't be mapped
            return np.zeros(shape, dtype=TYPES[name])
        return np.lib.format.open_memmap(self.beside / f"{name}.npy", mode="w+", dtype=TYPES[name], shape=shape)

    def put(self, rows: range, said: TopKLogprobs) -> None:
        """Write the top-k log-probabilities at the targets of these rows."""
        part = slice(int(self.offsets[rows.start]), int(self.offsets[rows.stop]))
        for name, array in self.arrays.items():
            array[part] = getattr(said, name).cpu().numpy()

    def finish(self) -> CachedTopK:
        """Rename the temporary folder to the cache folder: all of it, or nothing."""
        if self.beside is not None and self.place is not None:
            try:
                self._settle(self.beside, self.place)
            except OSError:
                shutil.rmtree(self.beside, ignore_errors=True)
        return CachedTopK(**self.arrays, offsets=self.offsets)

    def _settle(self, beside: Path, place: Path) -> None:
        for name, array in self.arrays.items():
            if isinstance(array, np.memmap):
                array.flush()
            else:
                np.save(beside / f"{name}.npy", array, allow_pickle=False)
        (beside / DOCUMENT).write_text(json.dumps({"targets": int(self.offsets[-1])}), encoding="utf-8")
        if place.exists():
            shutil.rmtree(place)  # what is damaged makes room
        beside.rename(place)

    def abandon(self) -> None:
        if self.beside is not None:
            shutil.rmtree(self.beside, ignore_errors=True)


def read(place: Path | None, offsets: np.ndarray, top_k: int) -> CachedTopK | None:
    """The cached arrays, memory-mapped; None if they are missing or damaged."""
    if place is None or not (place / DOCUMENT).is_file():
        return None
    try:
        arrays = {name: _load(place / f"{name}.npy") for name in TYPES}
    except (OSError, ValueError, EOFError):
        return None
    total = int(offsets[-1])
    shapes = {"ids": (total, top_k), "logprobs": (total, top_k), "rest": (total,)}
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        return None
    return CachedTopK(**arrays, offsets=offsets)


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty file can't be mapped
        return np.load(path, allow_pickle=False)
