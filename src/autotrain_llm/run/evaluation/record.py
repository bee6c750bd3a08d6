"""What evaluation found before, during and after training: `eval/metrics.json`, and the file of the predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.metric_changes import EVALUATION
from autotrain_llm.run.artifacts.records import write_json
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.evaluation.observers import Predictions

BEFORE, DURING, AFTER = "before", "during", "after"
BEFORE_TRAINING = "predictions_before.jsonl"
PREFIX = "eval_"
NOT_KEPT = ("epoch", "eval_seconds")


class Evaluations(TrainerCallback):
    """Evaluates before and after training, and keeps what every evaluation found. A resumed run goes on with what it had."""

    def __init__(
        self,
        folder: Path,
        predictions: Predictions | None,
        watch: ProgressCallback,
        leader: bool,
        resumed_at: int | None,
    ) -> None:
        self.path, self.predictions = folder / EVALUATION, predictions
        self.watch, self.leader, self.resumed = watch, leader, resumed_at is not None
        self.phase = DURING
        self.found: dict[str, Any] = {BEFORE: None, DURING: [], AFTER: None}
        if resumed_at is not None:
            self._take_up(resumed_at)

    def _take_up(self, step: int) -> None:
        """What was found up to the checkpoint that the run goes on from."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        self.found[BEFORE] = kept.get(BEFORE)
        self.found[DURING] = [entry for entry in kept.get(DURING) or [] if entry.get("step", 0) <= step]

    def before(self, loop: Loop) -> None:
        """Evaluate the model as it is now. Random numbers that training will draw are left as they are."""
        if self.resumed:
            return
        if loop.is_fsdp_enabled:
            self.watch.note("Not evaluated before training: FSDP has not yet shared the model out")
            return
        self.watch.stage("Evaluating before training")
        devices = [loop.args.device] if loop.args.device.type == "cuda" else []
        with self._in(BEFORE), torch.random.fork_rng(devices):
            loop.evaluate()

    def after(self, loop: Loop, step: int) -> None:
        """Evaluate the finished model, which is the one of `step`; unless that is what was evaluated last."""
        last = self.found[DURING][-1] if self.found[DURING] else None
        if last is not None and last["step"] == step:
            self.settle(step)
            return
        self.watch.stage("Evaluating after training")
        with self._in(AFTER):
            loop.evaluate()

    def settle(self, step: int) -> None:
        """Take what was found at `step` for what the finished model scores."""
        entries = [entry for entry in self.found[DURING] if entry["step"] == step]
        if entries:
            self.found[AFTER] = {name: value for name, value in entries[-1].items() if name != "step"}
            self._write()

    @contextmanager
    def _in(self, phase: str) -> Iterator[None]:
        self.phase = phase
        if self.predictions is not None and phase == BEFORE:
            self.predictions.name, kept = BEFORE_TRAINING, self.predictions.name
        try:
            yield
        finally:
            self.phase = DURING
            if self.predictions is not None and phase == BEFORE:
                self.predictions.name = kept

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        entry = {name.removeprefix(PREFIX): value for name, value in (metrics or {}).items() if name not in NOT_KEPT}
        if self.phase == DURING:
            self.found[DURING].append({"step": state.global_step, **entry})
        else:
            self.found[self.phase] = entry
        self._write()

    def _write(self) -> None:
        if self.leader:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.found)
