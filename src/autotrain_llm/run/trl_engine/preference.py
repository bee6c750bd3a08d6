"""`--engine trl` for dpo, kto and reward: TRL's own trainers on the batches, the model and the reference of the same plan.

TRL averages over the batches of an accumulated step where this package averages over their pairs: the two agree where the batches are
equally large.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer

from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.reference_model import ADAPTER_AS_IT_WAS, ANOTHER_MODEL
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.answer_items import AnswerItem, Preferences
from autotrain_llm.run.engine.batches import Batches
from autotrain_llm.run.engine.dropout import without_dropout
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.layouts import Padded, PromptGroup
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.reference_model import load_named_reference
from autotrain_llm.run.trl_engine.sft import (
    TRAIN,
    VALID,
    IndexedBatches,
    RenameLogs,
    constructor_arguments,
    shared_arguments,
)

# TRL tokenises texts before it collates: placeholders for the batches, which are looked up by index.
TEXTS_OF_PAIRS = {"prompt": "a", "chosen": "b", "rejected": "c"}
TEXTS_OF_ANSWERS = {"prompt": "a", "completion": "b"}
# Pairs for a reward model are taken for tokenised if they have these columns.
TOKENS_OF_PAIRS = {"chosen_ids": [0], "rejected_ids": [0]}


def dpo(
    plan: Plan,
    arguments: Mapping[str, Any],
    loaded: Loaded,
    train_rows: Preferences,
    valid_rows: Preferences | None,
    callbacks: Sequence[TrainerCallback],
    inputs: RunInputs,
) -> DPOTrainer:
    """TRL's DPOTrainer for a plan of direct preference optimisation. `arguments` are transformers' own, by name."""
    settings = plan.objective.settings
    config = DPOConfig(
        **shared_arguments(plan, arguments),
        beta=settings["dpo_beta"],
        loss_type=[settings["dpo_loss"]],
        label_smoothing=settings["label_smoothing"],
        max_length=None,
        disable_dropout=False,  # what has to be off is switched off here
        train_sampling_strategy="sequential",
    )
    rows = {TRAIN: train_rows, VALID: valid_rows}
    indexed = _IndexedPairs(inputs, plan, config, loaded, rows)
    return DPOTrainer(
        ref_model=_reference(plan, inputs, loaded),
        **constructor_arguments(loaded, config, indexed, RenameLogs(of_tokens=False), callbacks),
    )


def kto(
    plan: Plan,
    arguments: Mapping[str, Any],
    loaded: Loaded,
    train_rows: Preferences,
    valid_rows: Preferences | None,
    callbacks: Sequence[TrainerCallback],
    inputs: RunInputs,
) -> KTOTrainer:
    """TRL's KTOTrainer for a plan of Kahneman-Tversky optimisation."""
    settings = plan.objective.settings
    config = KTOConfig(
        **{
            **shared_arguments(plan, arguments),
            # TRL refuses batches of one item, and a batch is one item here: each is repeated.
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 2,
        },
        beta=settings["kto_beta"],
        desirable_weight=settings["kto_desirable_weight"],
        undesirable_weight=settings["kto_undesirable_weight"],
        max_length=None,
        disable_dropout=False,
        train_sampling_strategy="sequential",
    )
    rows = {TRAIN: train_rows, VALID: valid_rows}
    indexed = _IndexedAnswers(inputs, plan, config, loaded, rows)
    return KTOTrainer(
        ref_model=_reference(plan, inputs, loaded),
        **constructor_arguments(loaded, config, indexed, RenameLogs(of_tokens=False), callbacks),
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
    indexed = _ScoredPairs(inputs, plan, config, loaded, rows)
    return RewardTrainer(**constructor_arguments(loaded, config, indexed, RenameLogs(of_tokens=False), callbacks))


def _reference(plan: Plan, inputs: RunInputs, loaded: Loaded) -> Any:
    """The reference model, without an adapter: TRL would load it by its name, which a new model does not have."""
    without_dropout(loaded.model, of_adapters=not (plan.adapter and plan.adapter.dropout))
    reference = plan.objective.reference
    assert reference is not None
    other = load_named_reference(plan, inputs) if reference.kind == ANOTHER_MODEL else copy.deepcopy(loaded.model)
    if isinstance(other, PeftModel):
        other = other.merge_and_unload() if reference.kind == ADAPTER_AS_IT_WAS else other.unload()
    return other.requires_grad_(False).eval()


class _IndexedPairs(IndexedBatches):
    """Batches of pairs: all chosen answers, then all rejected ones, each with its prompt."""

    placeholders: Mapping[str, Any] = TEXTS_OF_PAIRS

    def lay_out(self, prompt_groups: Sequence[PromptGroup]) -> dict[str, Any]:
        sides = [prompt_group.rows() for prompt_group in prompt_groups]
        return self.padded([row for side in (0, 1) for row in (pair[side] for pair in sides)])

    def padded(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Rows padded on the right, with TRL's names of inputs."""
        batch = Padded(self.pad_token).collate(rows)
        completion = torch.zeros_like(batch["attention_mask"])
        completion.view(-1)[batch["target_positions"] + 1] = 1  # each position predicts the next token
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "completion_mask": completion,
        }


class _ScoredPairs(_IndexedPairs):
    """The same without the tokens that are trained on: a reward model scores whole texts."""

    placeholders = TOKENS_OF_PAIRS

    def padded(self, rows: Sequence[Row]) -> dict[str, Any]:
        return {name: value for name, value in super().padded(rows).items() if name != "completion_mask"}


class _IndexedAnswers(_IndexedPairs):
    """Batches of single answers, with the mismatched ones for the KL estimate."""

    placeholders = TEXTS_OF_ANSWERS

    def indices(self, split: str) -> Dataset:
        count = len(self.batches[split].order) * self.processes
        twice = [index for index in range(count) for _ in range(2)]
        # Placeholders of both classes, which TRL counts; the batches have the real labels.
        labels = [bool(index % 2) for index in range(len(twice))]
        return Dataset.from_dict(
            {"batch": twice, "split": [split] * len(twice), "label": labels, **self.columns(len(twice))}
        )

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return super().collate(items[:1])

    def make_batch(self, items: Sequence[AnswerItem], batches: Batches) -> dict[str, Any]:
        batch = self.padded([row for item in items for row in item.prompt_group.rows()])
        mismatched = self.padded([row for item in items if item.mismatched for row in item.mismatched.rows()])
        labels = torch.tensor([bool(item.label) for item in items])
        return {**batch, **{f"KL_{name}": tensor for name, tensor in mismatched.items()}, "label": labels}
