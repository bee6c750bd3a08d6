"""`--engine trl` for sft and generic: the same plan on TRL's own trainer, through its public constructor, to compare with and test against.

TRL gets the loaded model, the prepared rows, and the batches in the order of this package's loop: its dataset holds only the indices of an
epoch's batches, and the collator makes the batch of an index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from autotrain_llm.data.order import DataOrder
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.batches import Batches, BatchOrder, RowGroups, training_order
from autotrain_llm.run.engine.flat.batch import Row
from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.layouts import IGNORED
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.objective import ROUTER_LOSS
from autotrain_llm.run.engine.router_loss import router_weight
from autotrain_llm.run.failures import not_a_number

TRAIN, VALID = "train", "valid"
RENAMED = {"mean_token_accuracy": "token_accuracy", "eval_mean_token_accuracy": "eval_token_accuracy"}
RENAMED |= {"aux_loss": ROUTER_LOSS, "eval_aux_loss": f"eval_{ROUTER_LOSS}"}
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
    indexed = IndexedBatches(inputs, plan, config, loaded, {TRAIN: train_rows, VALID: valid_rows})
    return SFTTrainer(**constructor_arguments(loaded, config, indexed, RenameLogs(), callbacks))


def constructor_arguments(
    loaded: Loaded, config: Any, indexed: IndexedBatches, rename_logs: RenameLogs, callbacks: Sequence[TrainerCallback]
) -> dict[str, Any]:
    """Keyword arguments that the constructors of all TRL trainers share. TRL balances routers unless it is told not to; here config.json decides."""
    if hasattr(config, "router_aux_loss_coef"):
        config.router_aux_loss_coef = router_weight(causal_model(loaded.model).config)
    return {
        "model": loaded.model,
        "args": config,
        "data_collator": indexed.collate,
        "train_dataset": indexed.indices(TRAIN),
        "eval_dataset": indexed.indices(VALID) if VALID in indexed.batches else None,
        "processing_class": loaded.tokenizer,
        "callbacks": [indexed, rename_logs, *callbacks],
    }


def shared_arguments(plan: Plan, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that all TRL configurations share. Defaults that differ from this package's are set explicitly."""
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


class IndexedBatches(TrainerCallback):
    """The batches of an epoch by index. `placeholders` are columns that TRL looks for before it collates, with the value of all items."""

    placeholders: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, inputs: RunInputs, plan: Plan, config: TrainingArguments, loaded: Loaded, rows: Mapping[str, Any]
    ) -> None:
        self.prepared = inputs.prepared
        self.pad_token = int(loaded.tokenizer.pad_token_id)
        self.processes = config.world_size
        self.process = config.process_index
        # Packed rows are one stream; position ids that restart at 0 keep them apart.
        self.examples = DataCollatorForLanguageModeling(self.pad_token, padding_free=bool(plan.layout.packing))
        self.batches = {split: self._batches(items, plan, split) for split, items in rows.items() if items is not None}
        self.order: dict[str, list[list[int]]] = {}

    def _batches(self, items: Any, plan: Plan, split: str) -> Batches:
        arguments = plan.arguments
        size = arguments.per_device_train_batch_size if split == TRAIN else arguments.per_device_eval_batch_size
        is_training = split == TRAIN
        order = (
            training_order(items, self.prepared, arguments.data_seed) if is_training else DataOrder(range(len(items)))
        )
        batches = BatchOrder(order, size, self.process, self.processes, neighbours=items.mismatches)
        return Batches(items, batches, self.lay_out)

    def indices(self, split: str) -> Dataset:
        """A dataset with an item for each batch of all processes; accelerate deals them out in turn."""
        count = len(self.batches[split].order) * self.processes
        return Dataset.from_dict({"batch": list(range(count)), "split": [split] * count, **self.columns(count)})

    def columns(self, count: int) -> dict[str, list[Any]]:
        """The placeholders of so many items."""
        return {name: [value] * count for name, value in self.placeholders.items()}

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
        indices = self.order[split][item["batch"] // self.processes]
        return self.make_batch([batches.dataset[index] for index in indices], batches)

    def make_batch(self, items: Sequence[Any], batches: Batches) -> dict[str, Any]:
        """The batch of these items."""
        return batches.collate_fn(list(items))

    def lay_out(self, rows: Sequence[Any]) -> dict[str, Any]:
        return self.examples([{"input_ids": _ids(row), "labels": _labels(row)} for row in rows])


def _ids(row: Row) -> np.ndarray:
    return np.asarray(row[0], dtype=np.int64)


def _labels(row: Row) -> np.ndarray:
    """Nothing predicts the first token; with a label TRL would count it in the denominator of the mean."""
    labels = np.where(np.asarray(row[1], dtype=bool), _ids(row), IGNORED)
    labels[0] = IGNORED
    return labels


class RenameLogs(TrainerCallback):
    """Rename TRL's metrics to this package's; has to come before the callbacks that record them.

    With `of_tokens` the loss is a cross entropy, which has a perplexity.
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
        for trl_name, own_name in RENAMED.items():
            if trl_name in logs:
                logs[own_name] = logs.pop(trl_name)
        token_counts = [logs.pop(name) for name in COUNTERS if name in logs]
        if "loss" in logs:
            self._check(logs["loss"], state.global_step)
            if token_counts:
                now = time.perf_counter()
                logs["tokens_per_second"] = round((token_counts[0] - self.tokens) / (now - self.since), 1)
                self.tokens, self.since = token_counts[0], now
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
