"""Callbacks of the training loop: record metrics, report progress, and stop with a checkpoint on a signal."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import MetricsFile
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.trackers import Trackers

NOT_LOGGED = ("total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")


class Recorder(TrainerCallback):
    """Writes metrics.jsonl, and forwards metrics to the trackers and to the progress callback; in the first process only."""

    def __init__(self, metrics: MetricsFile | None, progress: ProgressCallback, trackers: Trackers) -> None:
        self.metrics = metrics
        self.progress = progress
        self.trackers = trackers
        self.history: list[dict[str, float]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.progress.start(state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.step(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logged = {name: value for name, value in (logs or {}).items() if name not in NOT_LOGGED}
        if set(logged) <= {"epoch"}:
            return
        self.history.append({"step": state.global_step, **logged})
        if self.metrics is not None:
            self.metrics.add(state.global_step, logged)
        self.trackers.log(state.global_step, logged)
        self.progress.log(state.global_step, logged)


class Signals(TrainerCallback):
    """Stops the run on SIGINT or SIGTERM: on the first one after the current step, with a checkpoint; on a second one at once.

    A context manager around training. Several processes stop after the same step.
    """

    def __init__(self, resume_command: str) -> None:
        self.resume_command = resume_command
        self.received: int | None = None
        self.steps = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._handlers[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(self, *details: Any) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        again, self.received = self.received is not None, signum
        if again or self.steps == 0:
            raise self.interrupted(signum, saved=False)

    def interrupted(self, signum: int, saved: bool) -> Interrupted:
        event = "Terminated" if signum == signal.SIGTERM else "Interrupted"
        if saved:
            return Interrupted(
                signum, f"{event} after step {self.steps}; a checkpoint was saved. To go on: {self.resume_command}"
            )
        if self.steps == 0:
            return Interrupted(signum, f"{event} before the first step: there is nothing to resume.")
        return Interrupted(
            signum, f"{event} at once; to go on from the newest complete checkpoint: {self.resume_command}"
        )

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        # A library that was being loaded may have caught the exception as one of its own.
        if self.received is not None and self.steps == 0:
            raise self.interrupted(self.received, saved=False)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps = state.global_step
        received = self.received or 0
        if args.world_size > 1:
            agreed = torch.tensor(received, device=args.device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            received = int(agreed.item())
            self.received = received or None
        if received:
            control.should_save = True
            control.should_evaluate = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.received is not None:
            raise self.interrupted(self.received, saved=True)
