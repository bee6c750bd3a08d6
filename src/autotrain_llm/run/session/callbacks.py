"""Callbacks of the training loop: record metrics, report progress, and stop with a checkpoint on a signal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.checks.observations import History, observe
from autotrain_llm.context.output_dir import checkpoints_in, is_complete
from autotrain_llm.context.signals import event, handled
from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.records import MetricsFile
from autotrain_llm.run.failures import Interrupted
from autotrain_llm.run.session.trackers import Trackers

PATIENCE = 10.0  # seconds after a first signal from which on a second one ends one of several processes at once
NOT_LOGGED = ("total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")


class Recorder(TrainerCallback):
    """Writes metrics.jsonl, forwards metrics to the trackers and to the progress callback, and reports what they say; in the first process only."""

    def __init__(
        self, metrics: MetricsFile | None, progress: ProgressCallback, trackers: Trackers, plan: Plan, folder: Path
    ) -> None:
        self.metrics = metrics
        self.progress = progress
        self.trackers = trackers
        self.plan, self.folder = plan, folder
        self.history: list[dict[str, float]] = []
        self.observed: set[str] = set()  # codes, each reported once

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
        self._observe()

    def _observe(self) -> None:
        """Report what the metrics already say for certain."""
        for finding in observe(self.plan, History(tuple(self.history), str(self.folder))):
            if finding.code not in self.observed:
                self.observed.add(finding.code)
                fix = f"; fix: {finding.fix}" if finding.fix else ""
                self.progress.note(f"{finding.severity.capitalize()}: {finding.message} [{finding.code}]{fix}")


class Signals(TrainerCallback):
    """Stops the run on SIGINT, SIGTERM or SIGHUP: on the first one after the current step, with a checkpoint; on a second one at once.

    A step counts with everything that belongs to it: its evaluation, and at the end of an epoch those of the epoch. Otherwise a resumed run
    would never make them, and could end with another model. A context manager around training.

    Several processes stop after the same step, and none of them ends before the checkpoint is complete: whatever started them would end the
    others. They get one signal more than once, from a terminal and from their launcher: there a second one counts only after PATIENCE.
    """

    def __init__(self, resume_command: str, folder: Path, *, is_resumed: bool = False, processes: int = 1) -> None:
        self.resume_command = resume_command
        self.folder = folder
        self.is_resumed = is_resumed
        self.processes = processes
        self.received: int | None = None  # by this process or another one
        self.steps = 0
        self._received_at: float | None = None  # when this process got its first signal
        self._has_begun = False  # the first step has: it is waited for
        self._is_stopping = False
        self._is_ending = False  # at once, after a second signal
        self._epoch_ends = False  # with the current step, and its end has not been reached
        self.before_the_end: Callable[[], None] = lambda: None  # completes the checkpoint that was saved last
        self._handlers = ExitStack()

    def __enter__(self) -> Signals:
        self._handlers.enter_context(handled(self._receive))
        return self

    def __exit__(self, *details: Any) -> None:
        self._handlers.close()

    def ignore(self) -> None:
        """Ignore further signals: the run has ended, and how it did is written."""
        self._is_ending = True

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._is_ending:
            return  # what is left is written: it takes a moment
        now, first = time.monotonic(), self._received_at
        again = first is not None and (self.processes == 1 or now - first >= PATIENCE)
        self._received_at, self.received = now if first is None else first, signum
        if again or not self._has_begun:
            self._is_ending = True
            raise self.interrupted(signum, saved=False)

    def interrupted(self, signum: int, saved: bool) -> Interrupted:
        if saved:
            what = f"{event(signum)} after step {self.steps}; a checkpoint was saved."
            return Interrupted(signum, f"{what} To go on: {self.resume_command}", what)
        if self.steps == 0 and not self.is_resumed:
            return Interrupted(signum, f"{event(signum)} before the end of the first step: there is nothing to resume.")
        if not any(map(is_complete, checkpoints_in(self.folder))):
            what = f"{event(signum)} at once, before a checkpoint was complete: there is nothing to resume."
            return Interrupted(signum, f"{what} The same command starts again.", what)
        what = f"{event(signum)} at once"
        message = f"{what}; to go on from the newest complete checkpoint: {self.resume_command}"
        return Interrupted(signum, message, f"{what}.")

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        # A library that was being loaded may have caught the exception as one of its own.
        if self.received is not None and self.steps == 0:
            raise self.interrupted(self.received, saved=False)
        self._has_begun = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps = state.global_step
        self._epoch_ends = state.global_step >= state.max_steps or float(state.epoch or 0).is_integer()
        self._stop_if_received(args, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._epoch_ends = False
        self._stop_if_received(args, control)

    def _stop_if_received(self, args: TrainingArguments, control: TrainerControl) -> None:
        """Save a checkpoint if a process has received a signal, and stop with it."""
        received = self.received or 0
        if args.world_size > 1:
            agreed = torch.tensor(received, device=args.device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            received = int(agreed.item())
            # One that has come meanwhile stays: the processes agree on it after the next step.
            self.received = received or self.received
        if received and not self._epoch_ends:
            control.should_save = self._is_stopping = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # One process can also stop with a signal that came since the end of the step; several have not agreed on it.
        if self._is_stopping or (self.received is not None and args.world_size == 1 and not self._epoch_ends):
            assert self.received is not None
            if args.world_size > 1:
                self.before_the_end()
                torch.distributed.barrier()  # the first process writes more than the others
            raise self.interrupted(self.received, saved=True)
