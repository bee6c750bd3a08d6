"""`--use-enhanced-eval`: evaluation before and after training, predictions, and a benchmark of the finished model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.artifacts.metric_changes import EVALUATION
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.loop import Loop, Observer
from autotrain_llm.run.evaluation.benchmark import Benchmark
from autotrain_llm.run.evaluation.observers import Predictions, make_observers
from autotrain_llm.run.evaluation.record import Evaluations


class EnhancedEvaluation:
    """The plan's evaluations; without `--use-enhanced-eval` all methods do nothing. `resumed_at` is the step of the checkpoint."""

    def __init__(
        self, plan: Plan, folder: Path, progress: ProgressCallback, leader: bool, resumed_at: int | None
    ) -> None:
        self.plan, self.folder, self.progress, self.leader = plan, folder, progress, leader
        self.predictions: Predictions | None = None
        self.record: Evaluations | None = None
        self.benchmark: Benchmark | None = None
        settings = plan.evaluation
        if settings is None:
            return
        if settings.predictions:
            self.predictions = Predictions(folder / EVALUATION.parent)
        if settings.metrics or settings.predictions:
            self.record = Evaluations(folder, self.predictions, progress, leader, resumed_at)
        if settings.benchmark:
            progress.stage("Loading the benchmark")
            self.benchmark = Benchmark(settings.benchmark)

    @property
    def callbacks(self) -> list[TrainerCallback]:
        return [self.record] if self.record else []

    def observers(self, inputs: RunInputs, loaded: Loaded, layout: BatchLayout) -> list[Observer]:
        """The observers that compute the requested metrics."""
        if self.record is None:
            return []
        return make_observers(self.plan, inputs, loaded, layout, self.predictions)

    def before(self, trainer: Trainer) -> None:
        """Evaluate the untrained model."""
        if self.record and isinstance(trainer, Loop):
            self.record.before(trainer)

    def after(self, trainer: Trainer, step: int) -> None:
        """Evaluate the finished model, whose weights are those of `step`."""
        if self.record and isinstance(trainer, Loop):
            self.record.after(trainer, step)

    def results(self, loaded: Loaded) -> dict[str, Any] | None:
        """The metrics of every evaluation, and the scores of the benchmark, which runs now; None if there are none."""
        results = dict(self.record.results) if self.record else {}
        if self.benchmark and self.leader:
            self.progress.stage("Running the benchmark")
            batch_size = self.plan.arguments.per_device_eval_batch_size
            results["benchmark"] = self.benchmark.run(loaded.model, loaded.tokenizer, batch_size, self.folder)
        return results or None
