"""Resume a run: what its checkpoint holds, and what follows from the plan in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.context.output_dir import CHECKPOINT_FILE, STATE_FILE
from autotrain_llm.context.resumed_run import EARLY_STOPPING
from autotrain_llm.declare.document import parse_json
from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.artifacts.checkpoint_list import METRIC, write_list
from autotrain_llm.run.engine.optimizers import DECAYED, FAST


def state_of(checkpoint: Path) -> TrainerState:
    """The trainer state in a checkpoint. The best checkpoint is looked for next to it, in case the run was moved."""
    state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    if state.best_model_checkpoint and not Path(state.best_model_checkpoint).is_dir():
        state.best_model_checkpoint = _best_next_to(checkpoint, state)
    return state


def _best_next_to(checkpoint: Path, state: TrainerState) -> str | None:
    beside = checkpoint.with_name(f"checkpoint-{state.best_global_step}")
    return str(beside) if beside.is_dir() else None


def early_stopping(patience: int, checkpoint: Path | None) -> EarlyStoppingCallback:
    """Early stopping that goes on counting where the checkpoint stopped."""
    callback = EarlyStoppingCallback(early_stopping_patience=patience)
    if checkpoint is not None:
        callback.early_stopping_patience_counter = _count(state_of(checkpoint))
    return callback


def _count(state: TrainerState) -> int:
    callbacks: Any = state.stateful_callbacks or {}
    return int(callbacks.get(EARLY_STOPPING, {}).get("attributes", {}).get("early_stopping_patience_counter", 0))


def is_finished(plan: Plan, checkpoint: Path) -> bool:
    """Whether a checkpoint is of the last step, or early stopping has ended the run with it: only the finished model has to be saved."""
    state, patience = state_of(checkpoint), plan.schedule.patience
    return state.global_step >= plan.steps or (patience is not None and _count(state) >= patience)


class CheckpointFile(TrainerCallback):
    """Lists the files of each checkpoint, in the first process; those of a divided model are listed when their parts are written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.should_save and not args.fsdp:
            write_list(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", {}, args)


class AsPlanned(TrainerCallback):
    """Lets the plan decide in a resumed run what transformers would take from the checkpoint: the learning rate, the weight decay, and when to
    log, evaluate and save. Without changes the values are equal."""

    def __init__(self, checkpoint: Path, plus_ratio: float | None = None) -> None:
        self.checkpoint, self.plus_ratio = checkpoint, plus_ratio or 1.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        state.compute_steps(args, state.max_steps)
        # Saving fails for a stateful callback that the checkpoint does not have.
        cast(dict[str, Any], state.stateful_callbacks).setdefault(EARLY_STOPPING, {})
        self._take_best(args, state)
        for number, group in enumerate(optimizer.param_groups):
            if group.get(DECAYED, number == 0):  # transformers' second group is not
                group["weight_decay"] = args.weight_decay
        rates = [args.learning_rate * (self.plus_ratio if group.get(FAST) else 1) for group in optimizer.param_groups]
        lr_scheduler.base_lrs = rates
        for group, rate, factor in zip(optimizer.param_groups, rates, lr_scheduler.lr_lambdas, strict=True):
            group["initial_lr"] = rate
            group["lr"] = rate * factor(lr_scheduler.last_epoch)
        lr_scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what is logged

    def _take_best(self, args: TrainingArguments, state: TrainerState) -> None:
        """The best checkpoint so far; none if it was chosen by another metric."""
        try:
            metric = parse_json((self.checkpoint / CHECKPOINT_FILE).read_text(encoding="utf-8")).get(METRIC)
        except (OSError, ValueError):
            metric = args.metric_for_best_model  # a checkpoint of an earlier version does not say
        if metric != args.metric_for_best_model:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        elif state.best_model_checkpoint is None and state.best_global_step:
            state.best_model_checkpoint = _best_next_to(self.checkpoint, state)


class SaveBest(TrainerCallback):
    """Saves a checkpoint at every evaluation that is the best so far, between the regular ones too: one that is not saved can't be the
    finished model."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        name = args.metric_for_best_model or "loss"
        value = (metrics or {}).get(name if name.startswith("eval_") else f"eval_{name}")
        if value is None:
            return
        is_better = state.best_metric is None or (
            value > state.best_metric if args.greater_is_better else value < state.best_metric
        )
        control.should_save = control.should_save or is_better
