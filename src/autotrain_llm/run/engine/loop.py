"""The training loop: a subclass of transformers' Trainer that takes rows, a layout and an objective. It overrides public methods only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from autotrain_llm.data.order import DataOrder, EpochOrder, ShuffledOrder
from autotrain_llm.planning.plan import OptimizerPlan
from autotrain_llm.run.engine.ahead import Ahead
from autotrain_llm.run.engine.batches import Batches, BatchOrder
from autotrain_llm.run.engine.eval_answers import EvalAnswer
from autotrain_llm.run.engine.flat.compiled import Graphs
from autotrain_llm.run.engine.flat.model import FlatOutput, causal_model
from autotrain_llm.run.engine.group import AllReduceSum
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.objective import (
    ROUTER_LOSS,
    ROUTER_TERM,
    Extremes,
    Objective,
    Sums,
    is_minimum,
    number_on,
    widen,
)
from autotrain_llm.run.engine.optimizers import (
    make_optimizer,
    raise_rates,
    use_averaged_weights,
    use_training_weights,
)
from autotrain_llm.run.engine.router_loss import router_weight
from autotrain_llm.run.engine.sharding import gathered, is_sharded, reshard, shard
from autotrain_llm.run.engine.states import PlainStates
from autotrain_llm.run.engine.throughput import Throughput
from autotrain_llm.run.failures import not_a_number


class BatchAugmenter(Protocol):
    """Adds to each batch what the objective needs from another model: reference log-probabilities, a teacher's hidden states.

    `stage` is shown as progress during `prepare`; None if that is quick.
    """

    stage: str | None

    def prepare(self, loop: Loop) -> None:
        """Called once, before the first step."""
        ...

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: AllReduceSum) -> dict[str, Any]:
        """The batch with the additions. `model` is the policy; `over_processes` sums a tensor over all processes."""
        ...


class Observer(Protocol):
    """Computes metrics beyond the objective's, at every evaluation."""

    def measure(self, loop: Loop) -> dict[str, float]:
        """Metrics of the current model, without the prefix `eval_`."""
        ...


class BatchSource(Protocol):
    """Makes training batches during training, in place of a fixed dataset: rollouts of the policy."""

    def batches(self, loop: Loop) -> DataLoader[Any]:
        """The batches of an epoch, made lazily."""
        ...

    def on_batch_end(self, metrics: Sums) -> None:
        """Called after each batch with its metrics."""
        ...

    def saving(self, folder: Path) -> AbstractContextManager[None]:
        """Wraps the saving of a checkpoint's model, in all processes, and adds the state that a resumed run needs."""
        ...


@contextmanager
def unchanged_random_numbers(device: torch.device) -> Iterator[None]:
    """Give torch's random numbers back as they were, those of a processor and of this device."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@dataclass(frozen=True)
class Part:
    """Evaluation items of one source: their indices, its name, and the names of the metrics that are logged for it."""

    items: range
    name: str | None = None
    headline: tuple[str, ...] = ()

    def reported(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The metrics of this part, under its name."""
        return {f"{self.name}_{name}": metrics[name] for name in self.headline if name in metrics}


class FiniteLosses:
    """Stops a run whose loss is not a number. A loss is looked at one batch later, so that a GPU computes while Python prepares what follows; and
    before anything is logged, evaluated, sampled or saved with the weights that it changed."""

    def __init__(self) -> None:
        self._pending: tuple[torch.Tensor, torch.cuda.Event | None, int] | None = None

    def add(self, loss: torch.Tensor, step: int) -> None:
        """A batch's loss in the step of this number."""
        is_finite, copied = torch.isfinite(loss.detach()), None
        if is_finite.is_cuda:  # reading it on the device would wait for all that was started since
            is_finite = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(is_finite, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._pending = is_finite, copied, step

    def check(self) -> None:
        """Raises RunFailed if the last loss was not a number."""
        if self._pending is None:
            return
        (is_finite, copied, step), self._pending = self._pending, None
        if copied is not None:
            copied.synchronize()
        if not is_finite:
            raise not_a_number(step)


class Loop(PlainStates):
    """Trains on `train_rows` and evaluates on `valid_rows`, both datasets of items.

    `train_order` is that of a mixture; without it, all rows are shuffled in each epoch. `valid_parts` divides the evaluation items into
    parts that are evaluated one after the other; of those with a name, the metrics `headline` are logged separately too. `optimizer_plan` is an optimizer
    that transformers does not make, `plus_ratio` LoRA+'s multiple of the learning rate. `graphs` counts those that are compiled, where layers are. `shards` is the number of parts that
    the model is divided into, where it is.
    """

    made_ahead_for = frozenset({"cuda"})  # on a processor it would take time from the training

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
        train_order: EpochOrder | None = None,
        valid_parts: Sequence[Part] = (),
        optimizer_plan: OptimizerPlan | None = None,
        graphs: Graphs | None = None,
        shards: int = 1,
        plus_ratio: float | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(train_dataset=train_rows, eval_dataset=valid_rows, **settings)
        self.train_rows = train_rows
        self.valid_rows = valid_rows
        self.train_order = train_order
        self.valid_parts = valid_parts
        self.optimizer_plan, self.plus_ratio = optimizer_plan, plus_ratio
        self.shards = shards
        self.layout: BatchLayout = layout
        self.objective: Objective = objective
        self.augmenters = augmenters
        self.observers = observers
        self.source = source
        self.loss_is_scaled_for_ga = True  # the objective's sum is divided by the items of the whole step
        self._optimized: list[list[nn.Parameter]] | None = None  # the parameters of each group of the optimizer
        self._pending: list[Sums] = []
        self._extremes: Extremes = {}
        self.eval_metrics: dict[str, float] = {}  # of the current evaluation, for its observers
        self.eval_answers: list[EvalAnswer] = []  # sampled by this process in the current evaluation, for its observers
        self.throughput = throughput
        self.finite = FiniteLosses()
        self._ahead: Ahead | None = None
        self.graphs = graphs
        assert isinstance(self.model, nn.Module)
        self.router_weight = router_weight(causal_model(self.model).config)
        if self.is_fsdp_enabled:  # before other models are made of it, and before anything is computed
            shard(self.model, self.accelerator, self.shards)

    # --- batches ----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        if self.source is not None:
            return self.source.batches(self)
        seed = self.args.data_seed
        assert seed is not None
        order = self.train_order or ShuffledOrder(len(self.train_rows), seed)
        return self._batches(self.train_rows, self.args.per_device_train_batch_size, order)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Batches:
        rows = eval_dataset or self.valid_rows
        assert rows is not None, "nothing to evaluate on"
        return self._evaluation_batches(rows, range(len(rows)))

    def _evaluation_batches(self, rows: Any, items: range) -> Batches:
        return self._batches(rows, self.args.per_device_eval_batch_size, DataOrder(items))

    def _batches(self, items: Any, batch_size: int, order: EpochOrder) -> Batches:
        divides = self.layout.divides
        process = (self.args.process_index // divides, self.args.world_size // divides)
        batches = BatchOrder(order, batch_size, *process, neighbours=items.mismatches)
        return Batches(items, batches, self.layout.collate)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """The batches of one optimizer step and the number of items in them, over all processes."""
        self.finish_checkpoint_if_written()
        use_training_weights(self.optimizer)  # answers are sampled with the weights that are trained
        if self.source is not None:
            self.finite.check()  # before anything is sampled
        batches = self._next_batches(epoch_iterator, num_batches, device)
        self.throughput.add(batches)
        items = number_on(sum(self.objective.items(batch) for batch in batches), device)
        return batches, self.over_processes(items)

    def _next_batches(self, epoch_iterator: Iterator[Any], count: int, device: torch.device) -> list[Any]:
        """On a GPU a thread makes batches ahead, unless they depend on what the model has become."""
        if device.type not in self.made_ahead_for or self.source is not None:
            return [batch for _, batch in zip(range(count), epoch_iterator, strict=False)]
        if self._ahead is None or self._ahead.batches is not epoch_iterator:
            if self._ahead is not None:
                self._ahead.close()
            self._ahead = Ahead(epoch_iterator, device)
        return self._ahead.take(count)

    def on_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch on the model's device."""
        return self._prepare_inputs(batch)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of calls in the run's precision. FSDP2 gathers weights in it: what it calls needs none."""
        return nullcontext() if self.is_fsdp_enabled else self.accelerator.autocast()

    def place(self, model: nn.Module) -> None:
        """Move a frozen model to the device of this process; where the policy is divided among the processes, divide it in the same way."""
        if not self.is_fsdp_enabled:
            model.to(self.args.device)
        elif not is_sharded(model):
            shard(model, self.accelerator, self.shards)

    def over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes."""
        return self.accelerator.reduce(value, "sum") if self.args.world_size > 1 else value

    def array_over_processes(self, array: np.ndarray) -> np.ndarray:
        """The sum of an array over all processes."""
        if self.args.world_size == 1:
            return array
        return self.over_processes(torch.from_numpy(array).to(self.args.device)).cpu().numpy()

    @property
    def unwrapped(self) -> nn.Module:
        """The trained model without its DDP wrapper, under which all processes would have to call it equally often."""
        assert isinstance(self.model, nn.Module)
        return self.model

    # --- the loss ---------------------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The objective's sum over the batch, divided by the items of the whole step.

        DDP averages gradients over processes, so each loss is multiplied by their number.
        """
        inputs = self._augmented(model, inputs)
        output = self.layout.forward(model, inputs, self.objective.compute)
        items = num_items_in_batch if num_items_in_batch is not None else self.objective.items(inputs)
        summed, metrics = self._objective_of(output, inputs)
        loss = summed * self.args.world_size / items
        self._pending.append(metrics)
        widen(self._extremes, self.objective.extremes(output, inputs))
        if self.source is not None:
            self.source.on_batch_end(metrics)
        return (loss, output) if return_outputs else loss

    def _objective_of(self, output: FlatOutput, inputs: dict[str, Any]) -> tuple[torch.Tensor, Sums]:
        """The objective's sum over the batch with its metrics. The loss of a mixture's routers is a term of it, weighted by the batch's items."""
        loss, metrics = self.objective.loss(output, inputs), self.objective.batch_metrics(output, inputs)
        if not self.router_weight or output.router_loss is None:
            return loss, metrics
        count = number_on(self.objective.items(inputs), loss.device)
        balance = output.router_loss.to(loss.device) * count
        metrics = {**metrics, ROUTER_LOSS: (balance.detach(), count)}
        return loss + self.router_weight * balance, {
            **metrics,
            ROUTER_TERM: (self.router_weight * balance.detach(), count),
        }

    def _augmented(self, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        for augmenter in self.augmenters:
            with self.autocast():  # accelerate adds autocast to the policy's forward only
                inputs = augmenter.augment(inputs, model, self.over_processes)
        return inputs

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.finite.check()
        self.finite.add(loss, self.state.global_step + 1)
        return loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        try:
            output = super().train(*args, **kwargs)
        finally:
            if self._ahead is not None:
                self._ahead.close()
        self.finite.check()
        return output

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        assert isinstance(self.model, nn.Module)
        reshard(self.model)  # what was called before training may have left whole weights in place of parts
        if self.optimizer_plan and self.optimizer is None:
            decayed = self.get_decay_parameter_names(self.model)
            self.optimizer = make_optimizer(self.optimizer_plan, self.model, self.args, decayed)
        is_new = self._optimized is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self.plus_ratio and is_new:
            raise_rates(optimizer, self.model, self.plus_ratio)
        self._optimized = [list(group["params"]) for group in optimizer.param_groups]
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.is_fsdp_enabled and self.optimizer is not None and self._optimized is not None:
            # accelerate has found the optimizer's parameters by their addresses, and parts without elements have none.
            for group, parameters in zip(self.optimizer.param_groups, self._optimized, strict=True):
                group["params"] = parameters
        return super().create_scheduler(num_training_steps, optimizer)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self.finite.check()
        if self.source is None or output_dir is None:
            super().save_model(output_dir, _internal_call)
            return
        with self.source.saving(Path(output_dir)):
            super().save_model(output_dir, _internal_call)

    # --- metrics ----------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the metrics since the last log, over all processes."""
        self.finite.check()
        if "loss" in logs:
            logs |= self._take_metrics()
            logs |= self.throughput.take(self.args.world_size, self.over_processes, self.args.device)
            if self.graphs is not None:
                logs["compiled_graphs"] = float(self.graphs.count)
        super().log(logs, start_time)

    def _take_metrics(self) -> dict[str, float]:
        pending, self._pending = self._pending, []
        extremes, self._extremes = self._extremes, {}
        return self._ratios(pending, extremes)

    def _ratios(self, batches: list[Sums], extremes: Extremes) -> dict[str, float]:
        """Each metric: the total of its sums divided by that of its counts, over batches and processes; and the extremes over all processes."""
        result = {}
        for name in dict.fromkeys(name for sums in batches for name in sums):
            pairs = [sums[name] for sums in batches if name in sums]
            totals = torch.stack([torch.stack([value.double() for value in pair]) for pair in pairs]).sum(0)
            total, count = self.over_processes(totals.float() if totals.device.type == "mps" else totals).tolist()
            if count:
                result[name] = total / count
        result |= {name: value for name in extremes if math.isfinite(value := self._furthest(name, extremes[name]))}
        result |= self.objective.derived_metrics(result)
        return {name: value for name, value in result.items() if not name.startswith("_")}

    def _furthest(self, name: str, value: torch.Tensor) -> float:
        """The extreme of all processes: each adds its own at its place."""
        values = torch.zeros(self.args.world_size, dtype=value.dtype, device=value.device)
        values[self.args.process_index] = value
        values = self.over_processes(values)
        return float(values.min() if is_minimum(name) else values.max())

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and metrics of the evaluation rows, as means over items and not over batches. The random numbers of the training are as they were: it goes
        on from a checkpoint as it does after an evaluation."""
        with unchanged_random_numbers(self.args.device):
            return self._measure(eval_dataset, metric_key_prefix)

    def _measure(self, eval_dataset: Any, metric_key_prefix: str) -> dict[str, float]:
        self.finite.check()
        began = time.perf_counter()
        use_averaged_weights(self.optimizer)
        # Before training it is not wrapped yet: accelerate would not wrap a model for training that it has wrapped for evaluation.
        model = self.model_wrapped
        model.eval()
        rows = eval_dataset or self.valid_rows
        assert rows is not None, "nothing to evaluate on"
        sums: list[Sums] = []
        extremes: Extremes = {}
        of_parts: dict[str, float] = {}
        for part in self.valid_parts or [Part(range(len(rows)))]:
            of_part = [self._evaluated(model, batch, extremes) for batch in self._evaluation_batches(rows, part.items)]
            sums += of_part
            of_parts |= part.reported(self._ratios(of_part, {})) if part.name else {}
        self.eval_metrics = eval_metrics = self._ratios(sums, extremes) | of_parts
        for observer in self.observers:
            with gathered(model):  # which it calls a different number of times in each process
                eval_metrics |= observer.measure(self)
        model.train()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in eval_metrics.items()}
        metrics[f"{metric_key_prefix}_seconds"] = round(time.perf_counter() - began, 3)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.throughput.leave_out(time.perf_counter() - began)  # evaluation does not count as training time
        return metrics

    def _evaluated(self, model: nn.Module, inputs: dict[str, Any], extremes: Extremes) -> Sums:
        """The loss and the metrics of a batch; the extremes so far are widened by its own."""
        inputs = self.on_device(inputs)
        with torch.no_grad(), self.autocast():
            inputs = self._augmented(model, inputs)
            output = self.layout.forward(model, inputs, self.objective.compute)
        summed, metrics = self._objective_of(output, inputs)
        widen(extremes, self.objective.extremes(output, inputs))
        loss = summed.detach()
        items = number_on(self.objective.items(inputs), loss.device)
        return {"loss": (loss, items), **metrics}
