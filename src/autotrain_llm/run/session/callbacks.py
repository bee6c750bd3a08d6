"""Callbacks of the loop: tell whoever watches, keep the metrics, and stop in good order when a signal asks for it."""

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
    """Writes metrics.jsonl, tells the trackers and the watch; only in the process that leads."""

    def __init__(self, metrics: MetricsFile | None, watch: ProgressCallback, trackers: Trackers) -> None:
        self.metrics = metrics
        self.watch = watch
        self.trackers = trackers
        self.history: list[dict[str, float]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.watch.start(state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.watch.step(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        kept = {name: value for name, value in (logs or {}).items() if name not in NOT_LOGGED}
        if set(kept) <= {"epoch"}:
            return
        self.history.append({"step": state.global_step, **kept})
        if self.metrics is not None:
            self.metrics.add(state.global_step, kept)
        self.trackers.log(state.global_step, kept)
        self.watch.log(state.global_step, kept)


class Signals(TrainerCallback):
    """The first SIGINT or SIGTERM ends the run after the step it is in, with a checkpoint; a second one ends it at once.

    Used as a context manager around training. Several processes agree on the step at which they stop.
    """

    def __init__(self, resume_words: str) -> None:
        self.resume_words = resume_words
        self.asked: int | None = None
        self.steps = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *details: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked is not None, number
        if again or self.steps == 0:
            raise self.interrupted(number, saved=False)

    def interrupted(self, number: int, saved: bool) -> Interrupted:
        word = "Terminated" if number == signal.SIGTERM else "Interrupted"
        if saved:
            return Interrupted(
                number, f"{word} after step {self.steps}; a checkpoint was saved. To go on: {self.resume_words}"
            )
        if self.steps == 0:
            return Interrupted(number, f"{word} before the first step: there is nothing to resume.")
        return Interrupted(number, f"{word} at once; to go on from the newest complete checkpoint: {self.resume_words}")

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        # Some library that was being loaded may have taken the exception for one of its own.
        if self.asked is not None and self.steps == 0:
            raise self.interrupted(self.asked, saved=False)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps = state.global_step
        asked = self.asked or 0
        if args.world_size > 1:
            agreed = torch.tensor(asked, device=args.device)
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX)
            asked = int(agreed.item())
            self.asked = asked or None
        if asked:
            control.should_save = True
            control.should_evaluate = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.asked is not None:
            raise self.interrupted(self.asked, saved=True)
