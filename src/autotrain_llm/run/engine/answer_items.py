"""Dataset items of preference tasks: a prompt with its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from autotrain_llm.data.rows import PairRows
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.layouts import PromptGroup

Collate = Callable[[Sequence[PromptGroup]], dict[str, Any]]


@dataclass(frozen=True)
class AnswerItem:
    """A prompt with its answers; their reference log-probabilities if they are precomputed; for a single answer its `label`, or its
    `scores` (N,), which a reward model learns.

    `mismatched` is the same prompt with another item's answer, for KTO's KL estimate.
    """

    prompt_group: PromptGroup
    reference: np.ndarray | None = None
    label: bool | None = None
    scores: np.ndarray | None = None
    mismatched: PromptGroup | None = None

    def with_mismatched(self) -> PromptGroup:
        """The prompt with its own answer and the mismatched one."""
        assert self.mismatched is not None
        return replace(self.prompt_group, answers=(*self.prompt_group.answers, *self.mismatched.answers))

    def padding_item(self) -> AnswerItem:
        """The same item, without trained tokens."""
        return replace(self, prompt_group=replace(self.prompt_group, is_padding=True))


class Preferences(Dataset[AnswerItem]):
    """Items with a prompt and `answers_each` answers. `reference` (items, answers_each) is set if it is precomputed."""

    answers_each = 2
    mismatches = False

    def __init__(self) -> None:
        self.reference: np.ndarray | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def prompt_group(self, index: int) -> PromptGroup:
        """The prompt of an item with its answers."""
        raise NotImplementedError

    def tokens(self, index: int) -> int:
        """The number of tokens of an item's prompt and answers."""
        prompt_group = self.prompt_group(index)
        return len(prompt_group.prompt) + sum(len(ids) for ids, _ in prompt_group.answers)

    def __getitem__(self, index: int) -> AnswerItem:
        return AnswerItem(self.prompt_group(index), None if self.reference is None else self.reference[index])

    def padding_item(self, index: int) -> AnswerItem:
        return self[index].padding_item()

    def collating(self, collate: Collate) -> Callable[[Sequence[AnswerItem]], dict[str, Any]]:
        """The collate function of items, given that of prompt groups."""
        return _AnswerCollator(collate)


class Pairs(Preferences):
    """Items are a prompt with the chosen and the rejected answer, in this order."""

    def __init__(self, rows: PairRows) -> None:
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def prompt_group(self, index: int) -> PromptGroup:
        return PromptGroup(self.rows.prompt[index][0], (self.rows.chosen[index], self.rows.rejected[index]))


def split_at_answer(row: Row) -> PromptGroup:
    """A row's prompt (the tokens before the first trained one) and its answer."""
    ids, loss_mask = (np.asarray(array) for array in row)
    start = int(np.argmax(loss_mask))
    return PromptGroup(ids[:start], ((ids[start:], loss_mask[start:]),))


class _AnswerCollator:
    """Collates the prompt groups of a batch and adds reference log-probabilities and labels, in the order of the answers."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[AnswerItem]) -> dict[str, Any]:
        batch = self.collate([item.prompt_group for item in items])
        counted = [item for item in items if not item.prompt_group.is_padding]
        if all(item.reference is not None for item in items):
            reference = [value for item in counted if item.reference is not None for value in item.reference]
            batch["reference"] = torch.tensor(reference, dtype=torch.float64)
        if all(item.label is not None for item in items):
            batch["labels"] = torch.tensor([bool(item.label) for item in counted], dtype=torch.bool)
        if all(item.scores is not None for item in items):
            scores = np.asarray([item.scores for item in items], dtype=np.float64)
            batch["scores"] = torch.from_numpy(scores[[not item.prompt_group.is_padding for item in items]])
        mismatched = [item.mismatched for item in items if item.mismatched is not None]
        if mismatched:
            batch["mismatched"] = self.collate(mismatched)
            batch["both"] = self.collate([item.with_mismatched() for item in items])
        return batch
