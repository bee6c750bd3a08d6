"""`--engine trl`: the same plan on TRL's own trainer, through its public constructor. To compare with, and to test against.

It gets the model that was loaded, the rows that were prepared, and the batches in the order that this package's loop takes them in:
its data set holds nothing but the numbers of an epoch's batches, and the collator lays out the batch that a number stands for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.batches import Batches, BatchOrder, RowGroups
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.layouts import IGNORED
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.failures import not_a_number

TRAIN, VALID = "train", "valid"
NAMES = {"mean_token_accuracy": "token_accuracy", "eval_mean_token_accuracy": "eval_token_accuracy"}
COUNTERS = ("num_tokens", "eval_num_tokens")


def sft(
    plan: Plan,
    arguments: Mapping[str, Any],
    loaded: Loaded,
    train_rows: RowGroups,
    valid_rows: RowGroups | None,
    callbacks: Sequence[TrainerCallback],
    inputs: RunInputs,
) -> SFTTrainer:
    """TRL's SFTTrainer for a plan of next-token prediction. `arguments` are transformers' own, by name."""
    config = sft_config(plan, arguments)
    numbered = NumberedBatches(plan, config, int(loaded.tokenizer.pad_token_id), {TRAIN: train_rows, VALID: valid_rows})
    return SFTTrainer(**constructor_arguments(loaded, config, numbered, RenameLogs(), callbacks))


def constructor_arguments(
    loaded: Loaded, config: Any, numbered: NumberedBatches, words: RenameLogs, callbacks: Sequence[TrainerCallback]
) -> dict[str, Any]:
    """What the constructors of all of TRL's trainers take alike."""
    return {
        "model": loaded.model,
        "args": config,
        "data_collator": numbered.collate,
        "train_dataset": numbered.numbers(TRAIN),
        "eval_dataset": numbered.numbers(VALID) if VALID in numbered.batches else None,
        "processing_class": loaded.tokenizer,
        "callbacks": [numbered, words, *callbacks],
    }


def shared_arguments(plan: Plan, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What all of TRL's configurations take: what TRL would decide by itself is said, because its defaults are others."""
    return {
        **{name: value for name, value in arguments.items() if name != "label_names"},
        # A batch is one item of the data set.
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_checkpointing": plan.precision.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if plan.precision.checkpointing else None,
    }


def sft_config(plan: Plan, arguments: Mapping[str, Any]) -> SFTConfig:
    """TRL's configuration of the plan."""
    return SFTConfig(
        **shared_arguments(plan, arguments),
        max_length=None,
        shuffle_dataset=False,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
    )


class NumberedBatches(TrainerCallback):
    """The batches of an epoch by their number, and the epoch that the trainer is in."""

    def __init__(self, plan: Plan, config: TrainingArguments, pad_token: int, rows: Mapping[str, Any]) -> None:
        self.pad_token = pad_token
        self.processes = config.world_size
        self.process = config.process_index
        # Packed rows lie in one stream, in which positions that start again keep them apart.
        self.examples = DataCollatorForLanguageModeling(pad_token, padding_free=bool(plan.layout.packing))
        self.batches = {split: self._batches(items, plan, split) for split, items in rows.items() if items is not None}
        self.order: dict[str, list[list[int]]] = {}

    def _batches(self, items: Any, plan: Plan, split: str) -> Batches:
        arguments = plan.arguments
        size = arguments.per_device_train_batch_size if split == TRAIN else arguments.per_device_eval_batch_size
        seed = arguments.data_seed if split == TRAIN else None
        order = BatchOrder(len(items), size, seed, self.process, self.processes, neighbours=items.mismatches)
        return Batches(items, order, self.lay_out)

    def numbers(self, split: str) -> Dataset:
        """As many items as all processes together have batches; accelerate deals them out in turn."""
        count = len(self.batches[split].order) * self.processes
        return Dataset.from_dict({"batch": list(range(count)), "split": [split] * count})

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.batches[TRAIN].set_epoch(int(state.epoch or 0))
        self.order.pop(TRAIN, None)

    def collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        (item,) = items
        split = item["split"]
        batches = self.batches[split]
        if split not in self.order:
            self.order[split] = list(batches.order)
        chosen = self.order[split][item["batch"] // self.processes]
        return self.together([batches.dataset[number] for number in chosen], batches)

    def together(self, items: Sequence[Any], batches: Batches) -> dict[str, Any]:
        """The batch of these items."""
        return batches.collate_fn(list(items))

    def lay_out(self, rows: Sequence[Any]) -> dict[str, Any]:
        return self.examples([{"input_ids": _ids(row), "labels": _labels(row)} for row in rows])


def _ids(row: Row) -> np.ndarray:
    return np.asarray(row[0], dtype=np.int64)


def _labels(row: Row) -> np.ndarray:
    """The first token is predicted from nothing: TRL would count it among the tokens that it divides by."""
    labels = np.where(np.asarray(row[1], dtype=bool), _ids(row), IGNORED)
    labels[0] = IGNORED
    return labels


class RenameLogs(TrainerCallback):
    """What TRL logs, under the names that this package logs; stands before whoever records it.

    `of_tokens` is whether the loss is a likelihood of tokens, which has a perplexity.
    """

    def __init__(self, of_tokens: bool = True) -> None:
        self.of_tokens = of_tokens
        self.tokens = 0.0
        self.since = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.since = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None:
            return
        for theirs, ours in NAMES.items():
            if theirs in logs:
                logs[ours] = logs.pop(theirs)
        counted = [logs.pop(name) for name in COUNTERS if name in logs]
        if "loss" in logs:
            self._check(logs["loss"], state.global_step)
            if counted:
                now = time.perf_counter()
                logs["tokens_per_second"] = round((counted[0] - self.tokens) / (now - self.since), 1)
                self.tokens, self.since = counted[0], now
        if "eval_loss" in logs:
            if self.of_tokens:
                logs["eval_perplexity"] = math.exp(min(logs["eval_loss"], 700.0))
            logs["eval_seconds"] = logs.pop("eval_runtime", math.nan)
            for name in ("eval_samples_per_second", "eval_steps_per_second"):
                logs.pop(name, None)
            self.since += logs["eval_seconds"] if math.isfinite(logs["eval_seconds"]) else 0.0

    def _check(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise not_a_number(step)
