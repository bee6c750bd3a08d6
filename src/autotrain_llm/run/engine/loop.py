"""The one training loop: a subclass of transformers' Trainer that takes rows, a layout and an objective, through public hooks only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer

from autotrain_llm.run.engine.batches import Batches, BatchOrder
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.objective import Objective, Sums
from autotrain_llm.run.engine.throughput import Throughput
from autotrain_llm.run.failures import not_a_number


class BatchAugmenter(Protocol):
    """Adds to each batch what the objective needs from another model: reference log-probabilities, a teacher's hidden states.

    `stage` is what progress shows during `prepare`; None where that is quick.
    """

    stage: str | None

    def prepare(self, loop: Loop) -> None:
        """Called once, before the first step."""
        ...

    def augment(
        self, batch: dict[str, Any], model: nn.Module, over_processes: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any]:
        """The batch with what it adds. `model` is the policy; `over_processes` sums a tensor over all processes."""
        ...


class Observer(Protocol):
    """Measures more than the objective does, at every evaluation."""

    def measure(self, loop: Loop) -> dict[str, float]:
        """Metrics of the current model, without the prefix `eval_`."""
        ...


class BatchSource(Protocol):
    """Makes training batches during training, in place of a fixed dataset: rollouts of the policy."""

    def batches(self, loop: Loop) -> DataLoader[Any]:
        """The batches of an epoch, each made when it is drawn."""
        ...

    def on_batch_end(self, measured: Sums) -> None:
        """Called after each batch with the objective's metrics of it."""
        ...

    def saving(self, folder: Path) -> AbstractContextManager[None]:
        """Wraps the saving of a checkpoint's model, in all processes, and adds what a resumed run needs."""
        ...


class Loop(Trainer):
    """Trains on `train_rows`, evaluates on `valid_rows`, both items of tokens."""

    def __init__(
        self,
        *,
        layout: BatchLayout,
        objective: Objective,
        throughput: Throughput,
        train_rows: Any,
        valid_rows: Any,
        augmenters: Sequence[BatchAugmenter] = (),
        observers: Sequence[Observer] = (),
        source: BatchSource | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(train_dataset=train_rows, eval_dataset=valid_rows, **settings)
        self.train_rows = train_rows
        self.valid_rows = valid_rows
        self.layout: BatchLayout = layout
        self.objective: Objective = objective
        self.augmenters = augmenters
        self.observers = observers
        self.source = source
        self.loss_is_scaled_for_ga = True  # the objective's sum is divided by the items of the whole step
        self._pending: list[Sums] = []
        self.measured: dict[str, float] = {}  # by the evaluation under way, for its observers
        self.throughput = throughput

    # --- batches ----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        if self.source is not None:
            return self.source.batches(self)
        return self._batches(self.train_rows, self.args.per_device_train_batch_size, self.args.data_seed)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Batches:
        rows = eval_dataset or self.valid_rows
        assert rows is not None, "nothing to evaluate on"
        return self._batches(rows, self.args.per_device_eval_batch_size, None)

    def _batches(self, items: Any, batch_size: int, seed: int | None) -> Batches:
        share = (self.args.process_index, self.args.world_size)
        order = BatchOrder(len(items), batch_size, seed, *share, neighbours=items.mismatches)
        return Batches(items, order, self.layout.collate)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """The batches of one optimizer step and the number of items in them, over all processes."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        self.throughput.add(batches)
        items = torch.tensor(float(sum(self.objective.items(batch) for batch in batches)), device=device)
        return batches, self.over_processes(items)

    def on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch where the model is."""
        return self._prepare_inputs(batch)

    def over_processes(self, value: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(value, "sum") if self.args.world_size > 1 else value

    # --- the loss ---------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The objective's sum over the batch, divided by the items of the whole step.

        DDP averages gradients over processes, so the loss is multiplied by the world size.
        """
        inputs = self._augmented(model, inputs)
        output = self.layout.forward(model, inputs, self.objective.compute)
        items = num_items_in_batch if num_items_in_batch is not None else self.objective.items(inputs)
        loss = self.objective.loss(output, inputs) * self.args.world_size / items
        measured = self.objective.batch_metrics(output, inputs)
        self._pending.append(measured)
        if self.source is not None:
            self.source.on_batch_end(measured)
        return (loss, output) if return_outputs else loss

    def _augmented(self, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        for augmenter in self.augmenters:
            with self.accelerator.autocast():  # which prepares the policy alone
                inputs = augmenter.augment(inputs, model, self.over_processes)
        return inputs

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise not_a_number(self.state.global_step + 1)
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if self.source is None or output_dir is None:
            super().save_model(output_dir, _internal_call)
            return
        with self.source.saving(Path(output_dir)):
            super().save_model(output_dir, _internal_call)

    # --- what is measured -------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was measured since the last log, summed over all processes."""
        if "loss" in logs:
            logs |= self._measured()
            logs |= self.throughput.take(self.args.world_size, self.over_processes, self.args.device)
        super().log(logs, start_time)

    def _measured(self) -> dict[str, float]:
        pending, self._pending = self._pending, []
        return self._ratios(pending)

    def _ratios(self, measured: list[Sums]) -> dict[str, float]:
        """Each measure's sum over what it is divided by, over batches and processes."""
        result = {}
        for name in dict.fromkeys(name for sums in measured for name in sums):
            pairs = [sums[name] for sums in measured if name in sums]
            both = torch.stack([torch.stack([part.double() for part in pair]) for pair in pairs]).sum(0)
            total, count = self.over_processes(both.float() if both.device.type == "mps" else both).tolist()
            if count:
                result[name] = total / count
        result |= self.objective.derived_metrics(result)
        return {name: value for name, value in result.items() if not name.startswith("_")}

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and measures of the evaluation rows, each item counting the same whatever batch it is in."""
        began = time.perf_counter()
        model = self._evaluating_model()
        sums: list[Sums] = []
        for inputs in self.get_eval_dataloader(eval_dataset):
            inputs = self.on_device(inputs)
            with torch.no_grad(), self.accelerator.autocast():
                inputs = self._augmented(model, inputs)
                output = self.layout.forward(model, inputs, self.objective.compute)
            loss = self.objective.loss(output, inputs).detach()
            items = torch.tensor(float(self.objective.items(inputs)), device=loss.device)
            sums.append({"loss": (loss, items), **self.objective.batch_metrics(output, inputs)})
        self.measured = measured = self._ratios(sums)
        for observer in self.observers:
            measured |= observer.measure(self)
        model.train()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        metrics[f"{metric_key_prefix}_seconds"] = round(time.perf_counter() - began, 3)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.throughput.leave_out(time.perf_counter() - began)  # evaluation is no training time
        return metrics

    def _evaluating_model(self) -> nn.Module:
        """The model as it is wrapped for training; before training as it is, because accelerate wraps no model for training that it has
        wrapped for evaluation."""
        model = self.model_wrapped
        model.eval()
        return model
