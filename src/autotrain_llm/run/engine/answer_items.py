"""Prepared preference rows as items of a batch: a prompt with its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from autotrain_llm.data.rows import PairRows
from autotrain_llm.run.engine.layouts import Family

Collate = Callable[[Sequence[Family]], dict[str, Any]]


@dataclass(frozen=True)
class Item:
    """A prompt with its answers, what the reference said of each where that is known already, and for one answer its `label`.

    `mismatched` is the same prompt with another item's answer.
    """

    family: Family
    reference: np.ndarray | None = None
    label: bool | None = None
    mismatched: Family | None = None

    def with_mismatched(self) -> Family:
        """Its prompt with its own answer and the mismatched one."""
        assert self.mismatched is not None
        return replace(self.family, answers=(*self.family.answers, *self.mismatched.answers))

    def silent(self) -> Item:
        """The same, counting nothing."""
        return replace(self, family=replace(self.family, counts=False))


class Preferences(Dataset[Item]):
    """Items with a prompt and `answers_each` answers. `reference` (items, answers_each) is filled where it is computed beforehand."""

    answers_each = 2
    mismatches = False

    def __init__(self) -> None:
        self.reference: np.ndarray | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def family(self, number: int) -> Family:
        """The prompt of an item and its answers."""
        raise NotImplementedError

    def tokens(self, number: int) -> int:
        """Those of an item's prompt and answers."""
        family = self.family(number)
        return len(family.prompt) + sum(len(ids) for ids, _ in family.answers)

    def __getitem__(self, number: int) -> Item:
        return Item(self.family(number), None if self.reference is None else self.reference[number])

    def silent(self, number: int) -> Item:
        return self[number].silent()

    def collating(self, collate: Collate) -> Callable[[Sequence[Item]], dict[str, Any]]:
        """What makes a batch of items, given what lays families out."""
        return _Together(collate)


class Pairs(Preferences):
    """Each item a prompt with the chosen answer and the rejected one, in this order."""

    def __init__(self, rows: PairRows) -> None:
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def family(self, number: int) -> Family:
        return Family(self.rows.prompt[number][0], (self.rows.chosen[number], self.rows.rejected[number]))


class _Together:
    """Lays the families of a batch out, and adds what is known of their answers, in the same order."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Item]) -> dict[str, Any]:
        batch = self.collate([item.family for item in items])
        counted = [item for item in items if item.family.counts]
        if all(item.reference is not None for item in items):
            known = [value for item in counted if item.reference is not None for value in item.reference]
            batch["reference"] = torch.tensor(known, dtype=torch.float64)
        if all(item.label is not None for item in items):
            batch["labels"] = torch.tensor([bool(item.label) for item in counted], dtype=torch.bool)
        mismatched = [item.mismatched for item in items if item.mismatched is not None]
        if mismatched:
            batch["mismatched"] = self.collate(mismatched)
            batch["both"] = self.collate([item.with_mismatched() for item in items])
        return batch
