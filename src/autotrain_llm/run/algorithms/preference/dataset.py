"""Prepared preference rows as items of a batch: pairs, and single answers that are good or bad."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autotrain_llm.data.rows import PairRows, Rows
from autotrain_llm.run.engine.answer_items import AnswerItem, Preferences
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.layouts import PromptGroup


class UnpairedPreferences(Preferences):
    """Items are a prompt with one answer, labelled good or bad; a pair makes two items, the chosen answer first."""

    answers_each = 1
    mismatches = True

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return 2 * len(self.rows) if isinstance(self.rows, PairRows) else len(self.rows)

    def prompt_group(self, index: int) -> PromptGroup:
        if isinstance(self.rows, PairRows):
            pair, side = divmod(index, 2)
            return PromptGroup(self.rows.prompt[pair][0], ((self.rows.rejected if side else self.rows.chosen)[pair],))
        prompt, answer = _split_at_answer(self.rows[index])
        return PromptGroup(prompt, (answer,))

    def label(self, index: int) -> bool:
        """Whether an item's answer is a good one."""
        if isinstance(self.rows, PairRows):
            return index % 2 == 0
        assert self.rows.labels is not None, "rows that are neither pairs nor labelled"
        return bool(self.rows.labels[index])

    def __getitem__(self, index: int) -> AnswerItem:
        return replace(super().__getitem__(index), label=self.label(index))

    def mismatched(self, item: AnswerItem, other: int) -> AnswerItem:
        """`item` with the answer of another item to its own prompt, for KTO's estimate of the KL divergence."""
        return replace(item, mismatched=replace(item.prompt_group, answers=self.prompt_group(other).answers))


def _split_at_answer(row: Row) -> tuple[np.ndarray, Row]:
    """The tokens before the first trained one, and the rest."""
    ids, trained = (np.asarray(part) for part in row)
    start = int(np.argmax(trained))
    return ids[:start], (ids[start:], trained[start:])
