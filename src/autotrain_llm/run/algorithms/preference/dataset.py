"""Dataset items of unpaired preferences: single answers, each labelled good or bad."""

from __future__ import annotations

from dataclasses import replace

from autotrain_llm.data.rows import PairRows, Rows
from autotrain_llm.run.engine.answer_items import AnswerItem, Preferences, split_at_answer
from autotrain_llm.run.engine.layouts import PromptGroup


class UnpairedPreferences(Preferences):
    """Items are a prompt, one answer and its label. A pair becomes two items, the chosen answer first."""

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
        return split_at_answer(self.rows[index])

    def label(self, index: int) -> bool:
        """Whether the item's answer is labelled good."""
        if isinstance(self.rows, PairRows):
            return index % 2 == 0
        assert self.rows.labels is not None, "rows that are neither pairs nor labelled"
        return bool(self.rows.labels[index])

    def __getitem__(self, index: int) -> AnswerItem:
        return replace(super().__getitem__(index), label=self.label(index))

    def mismatched(self, item: AnswerItem, other: int) -> AnswerItem:
        """`item` with the answer of another item as a mismatched answer, for KTO's KL estimate."""
        return replace(item, mismatched=replace(item.prompt_group, answers=self.prompt_group(other).answers))
