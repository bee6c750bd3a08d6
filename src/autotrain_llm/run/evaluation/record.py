"""The evaluations before, during and after training, written to `eval/metrics.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.declare.document import parse_json
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.metric_changes import EVALUATION
from autotrain_llm.run.artifacts.records import write_json
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.evaluation.observers import Predictions

BEFORE, DURING, AFTER = "before", "during", "after"
BEFORE_TRAINING = "predictions_before.jsonl"
PREFIX = "eval_"
NOT_RECORDED = ("epoch", "eval_seconds")


class Evaluations(TrainerCallback):
    """Evaluates before and after training, and records the metrics of every evaluation. A resumed run continues the record."""

    def __init__(
        self,
        folder: Path,
        predictions: Predictions | None,
        progress: ProgressCallback,
        leader: bool,
        resumed_at: int | None,
    ) -> None:
        self.path, self.predictions = folder / EVALUATION, predictions
        self.progress, self.leader, self.resumed = progress, leader, resumed_at is not None
        self.phase = DURING
        self.results: dict[str, Any] = {BEFORE: None, DURING: [], AFTER: None}
        if resumed_at is not None:
            self._load(resumed_at)

    def _load(self, step: int) -> None:
        """Read the record up to the step of the checkpoint."""
        try:
            document = parse_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        self.results[BEFORE] = document.get(BEFORE)
        self.results[DURING] = [entry for entry in document.get(DURING) or [] if entry.get("step", 0) <= step]

    def before(self, loop: Loop) -> None:
        """Evaluate the model before training."""
        if self.resumed:
            return
        self.progress.stage("Evaluating before training")
        with self._in(BEFORE):
            loop.evaluate()

    def after(self, loop: Loop, step: int) -> None:
        """Evaluate the finished model, whose weights are those of `step`, unless the last evaluation was of that step."""
        last = self.results[DURING][-1] if self.results[DURING] else None
        if last is not None and last["step"] == step:
            self.settle(step)
            return
        self.progress.stage("Evaluating after training")
        with self._in(AFTER):
            loop.evaluate()

    def settle(self, step: int) -> None:
        """Use the evaluation at `step` as that of the finished model."""
        entries = [entry for entry in self.results[DURING] if entry["step"] == step]
        if entries:
            self.results[AFTER] = {name: value for name, value in entries[-1].items() if name != "step"}
            self._write()

    @contextmanager
    def _in(self, phase: str) -> Iterator[None]:
        self.phase = phase
        if self.predictions is not None and phase == BEFORE:
            self.predictions.name, name = BEFORE_TRAINING, self.predictions.name
        try:
            yield
        finally:
            self.phase = DURING
            if self.predictions is not None and phase == BEFORE:
                self.predictions.name = name

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        entry = {
            name.removeprefix(PREFIX): value for name, value in (metrics or {}).items() if name not in NOT_RECORDED
        }
        if self.phase == DURING:
            self.results[DURING].append({"step": state.global_step, **entry})
        else:
            self.results[self.phase] = entry
        self._write()

    def _write(self) -> None:
        if self.leader:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.results)
