"""Batches that are made while others are trained on, and copied to the device without waiting for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from autotrain_llm.run.engine.flat.batch import Segments

AHEAD = 2  # batches beyond those of a step


class Ahead:
    """The batches of an iterator in their order, made by a thread ahead of their use; for a GPU in pinned memory.

    What the iterator raises is raised where its batch is taken.
    """

    def __init__(self, batches: Iterator[Any], device: torch.device) -> None:
        self.batches, self.device = batches, device
        use_device = (torch.cuda.set_device, (device,)) if device.type == "cuda" else (None, ())
        self._pool = ThreadPoolExecutor(1, "batches", *use_device)  # pinned memory belongs to the thread's GPU
        self._made: deque[Future[Any]] = deque()

    def take(self, count: int) -> list[Any]:
        """The next batches, on the device: fewer than `count` if there are no more."""
        while len(self._made) < count + AHEAD:
            self._made.append(self._pool.submit(self._make))
        made = [self._made.popleft().result() for _ in range(count)]
        return [moved(batch, self.device) for batch in made if batch is not None]

    def close(self) -> None:
        """End the thread; what it has made is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> Any:
        batch = next(self.batches, None)
        return pinned(batch) if self.device.type == "cuda" else batch


def pinned(batch: Any) -> Any:
    """The batch with its tensors in memory that a GPU copies from without waiting."""
    if isinstance(batch, Mapping):
        return {name: pinned(value) for name, value in batch.items()}
    if isinstance(batch, Segments):
        batch.offsets = batch.offsets.pinned()
        return batch
    return batch.pin_memory() if isinstance(batch, torch.Tensor) else batch


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on the device, copied without waiting where they are pinned."""
    if isinstance(batch, Mapping):
        return {name: moved(value, device) for name, value in batch.items()}
    if isinstance(batch, Segments):
        batch.offsets = batch.offsets.to(device)
        return batch
    return batch.to(device, non_blocking=True) if isinstance(batch, torch.Tensor) else batch
