"""A loader of batches that are made when they are fetched: of sampled answers, or of rows that are read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler


class LazyBatches(DataLoader[Any]):
    """`count` batches in each epoch: `make` is called with the number of a batch, counted through all epochs, and `collate` with what it returns,
    in a list. Of a resumed run the loop skips the first, without fetching them."""

    def __init__(self, make: Callable[[int], Any], count: int, collate: Callable[[list[Any]], dict[str, Any]]) -> None:
        self.numbers = _Numbers(count)
        super().__init__(_Made(make, count), batch_sampler=self.numbers, collate_fn=collate)

    def set_epoch(self, epoch: int) -> None:
        self.numbers.set_epoch(epoch)


class _Numbers(Sampler[list[int]]):
    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        """accelerate calls this one where it skips the first batches of a resumed run."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        return ([number] for number in range(self.epoch * self.count, (self.epoch + 1) * self.count))


class _Made(Dataset[Any]):
    def __init__(self, make: Callable[[int], Any], count: int) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        return self.make(number)
