"""`--engine trl` for reward: TRL's own trainer on the batches and the model of the same plan.

TRL averages over the batches of an accumulated step where this package averages over their pairs: the two agree where the batches are
equally large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer

from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.answer_items import Preferences
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.layouts import Padded, PromptGroup
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.trl_engine.sft import (
    TRAIN,
    VALID,
    IndexedBatches,
    RenameLogs,
    constructor_arguments,
    shared_arguments,
)


def reward(
    plan: Plan,
    arguments: Mapping[str, Any],
    loaded: Loaded,
    train_rows: Preferences,
    valid_rows: Preferences | None,
    callbacks: Sequence[TrainerCallback],
    inputs: RunInputs,
) -> RewardTrainer:
    """TRL's RewardTrainer for a plan of reward modelling. `arguments` are transformers' own, by name."""
    without_dropout(loaded.model)
    config = RewardConfig(
        **shared_arguments(plan, arguments),
        max_length=None,
        disable_dropout=False,  # the model's own is switched off here, an adapter's stays on
        train_sampling_strategy="sequential",
    )
    rows = {TRAIN: train_rows, VALID: valid_rows}
    indexed = _IndexedPairs(inputs, plan, config, loaded, rows)
    return RewardTrainer(**constructor_arguments(loaded, config, indexed, RenameLogs(of_tokens=False), callbacks))


class _IndexedPairs(IndexedBatches):
    """Batches of pairs: all chosen answers, then all rejected ones, each with its prompt."""

    def indices(self, split: str) -> Dataset:
        """With these two columns TRL treats rows as tokenised and does not process them."""
        indices = super().indices(split)
        for name in ("chosen_ids", "rejected_ids"):
            indices = indices.add_column(name, [[0]] * len(indices))
        return indices

    def lay_out(self, prompt_groups: Sequence[PromptGroup]) -> dict[str, Any]:
        pairs = [prompt_group.rows() for prompt_group in prompt_groups]
        batch = Padded(self.pad_token).collate([row for side in (0, 1) for row in (pair[side] for pair in pairs)])
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
