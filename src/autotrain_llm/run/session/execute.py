"""Carry out a plan, start to finish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerState, TrainingArguments
from transformers.utils import logging as transformers_logging

from autotrain_llm.checks.preflight import Checked
from autotrain_llm.context.output_dir import CHECKPOINTS, step_of
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.tokenize.pack import pack
from autotrain_llm.planning.plan import Plan
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.algorithms.distill.objective import distilled
from autotrain_llm.run.algorithms.distill.teacher import CachedTeacher, make_teacher
from autotrain_llm.run.algorithms.preference.reference_logps import make_reference_logps
from autotrain_llm.run.algorithms.reward.loading import load_classifier_to_train
from autotrain_llm.run.algorithms.reward.model_card import how_to_score
from autotrain_llm.run.algorithms.rl.layouts import FlatPolicy, PaddedPolicy
from autotrain_llm.run.algorithms.rl.recipe import Started, start_rollouts
from autotrain_llm.run.algorithms.rl.rollouts import SAMPLES
from autotrain_llm.run.algorithms.rl.value_head import FILE as VALUES
from autotrain_llm.run.algorithms.rl.value_head import load_value_head, save_value_head, without_value_head
from autotrain_llm.run.algorithms.rl.value_models import add_decided_value_head
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.artifacts.metric_changes import EVALUATION
from autotrain_llm.run.artifacts.output_lock import OutputFolder
from autotrain_llm.run.artifacts.saving import save_finished
from autotrain_llm.run.engine.allocator import keep_few_kernels, keep_freed_memory
from autotrain_llm.run.engine.batches import RowGroups
from autotrain_llm.run.engine.classifiers import FlatScores, PaddedScores
from autotrain_llm.run.engine.layouts import BatchLayout, Flat, Padded
from autotrain_llm.run.engine.loading import DTYPES, Loaded, load, tokenizer_disagrees
from autotrain_llm.run.engine.loop import BatchAugmenter, Loop, Observer
from autotrain_llm.run.engine.objective import Objective
from autotrain_llm.run.engine.peak_flops import Peak, matmul_peak
from autotrain_llm.run.engine.reference_model import without_dropout
from autotrain_llm.run.engine.throughput import Throughput, flops_of
from autotrain_llm.run.evaluation.benchmark import Benchmark
from autotrain_llm.run.evaluation.observers import Predictions, make_observers
from autotrain_llm.run.evaluation.record import Evaluations
from autotrain_llm.run.failures import Interrupted, RunFailed, explain
from autotrain_llm.run.report.write import REPORT, try_write_report
from autotrain_llm.run.session.callbacks import Recorder, Signals
from autotrain_llm.run.session.resume import restore, state_of
from autotrain_llm.run.session.trackers import Trackers

__all__ = ["Interrupted", "RunFailed", "RunReport", "execute"]


@dataclass
class RunReport:
    """What became of a plan. `history` holds what was logged, a dictionary a step; `files` what lies at the root of the folder."""

    plan: Plan
    output_dir: Path
    metrics: dict[str, float]
    seconds: float
    history: list[dict[str, float]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    try_it: str = ""
    sweep: dict[str, Any] | None = None  # what became of the trials, where the plan was a sweep
    evaluation: dict[str, Any] | None = None  # what was evaluated before, during and after training, and the benchmark

    def as_json(self) -> dict[str, Any]:
        """CONTRACT's `report`."""
        swept = {} if self.sweep is None else {"sweep": records.finite(self.sweep)}
        return {
            "output_dir": str(self.output_dir),
            "metrics": records.finite(self.metrics),
            "seconds": self.seconds,
            "files": self.files,
            "versions": self.versions,
            "try_it": self.try_it,
            **swept,
            **({} if self.evaluation is None else {"evaluation": records.finite(self.evaluation)}),
        }


def load_model(plan: Plan, context: RunContext) -> Loaded:
    """The model that the plan names: one that generates, or one that scores."""
    return (load_classifier_to_train if plan.model.head else load)(plan, context)


def execute(
    checked: Checked,
    watch: ProgressCallback | None = None,
    loading: Callable[[Plan, RunContext], Loaded] = load_model,
    *,
    with_page: bool = True,
) -> RunReport:
    """Carry out what was checked. Raises RunFailed, Interrupted or Refused; what is complete on disk stays.

    `loading` gives the model: whoever runs one model many times may have it at hand. `with_page` writes report.html at the end.
    """
    assert checked.plan is not None
    leader = checked.context.machine.is_first_process
    run = _Run(checked, checked.plan, (watch if leader else None) or ProgressCallback(), leader, loading)
    with OutputFolder(checked.context.output.folder, overwrite=checked.plan.output.overwrite, leader=leader) as folder:
        try:
            report = run.carry_out(folder.path)
        finally:
            if leader and with_page:
                try_write_report(folder.path, run.watch)
        if leader:
            folder.complete()
        return report


class _Run:
    """One execution: what its steps share."""

    def __init__(
        self,
        checked: Checked,
        plan: Plan,
        watch: ProgressCallback,
        leader: bool,
        loading: Callable[[Plan, RunContext], Loaded] = load_model,
    ) -> None:
        self.checked, self.plan, self.watch, self.leader = checked, plan, watch, leader
        self.loading = loading
        self.context = checked.context
        self.began = time.perf_counter()
        checkpoint = plan.output.checkpoint
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.peak: Peak | None = None
        self.kept: dict[str, Any] | None = None  # of what a teacher said
        self.evaluations: Evaluations | None = None
        self.predictions: Predictions | None = None
        self.benchmark: Benchmark | None = None
        self.steps = 0
        self.best_checkpoint: str | None = None

    def carry_out(self, folder: Path) -> RunReport:
        quiet_libraries(self.checked.config.verbose)
        words = records.command_of(self.checked.config, folder)
        run_file = records.RunFile(folder, self.plan, self.checked.findings) if self.leader else None
        if run_file:
            run_file.write()
            records.write_command(folder, words)
        signals = Signals(f"{records.invocation()} {' '.join(words[2:])} --resume")
        try:
            with signals:
                report = self._train(folder, signals, words)
        except Interrupted as stop:
            if run_file:
                run_file.write(status="interrupted", outcome={"message": stop.message})
            raise
        except BaseException as fault:
            failure = fault if isinstance(fault, RunFailed) else explain(fault, signals.steps)
            if run_file:
                said = failure.message if failure else f"{type(fault).__name__}: {fault}"
                run_file.write(status="failed", outcome={"failure": said, "fix": failure.fix if failure else None})
            if failure is None or failure is fault:
                raise
            raise failure from fault
        finally:
            self.watch.finish()
        if run_file:
            outcome: dict[str, Any] = {"best_checkpoint": self.best_checkpoint, "steps": self.steps}
            if self.peak is not None:
                outcome["matmul_peak"] = asdict(self.peak)
            if self.kept is not None:
                outcome["distillation"] = self.kept
            run_file.write(
                status="ok", outcome=outcome, metrics=report.metrics, seconds=report.seconds, files=report.files
            )
        return report

    def _train(self, folder: Path, signals: Signals, words: list[str]) -> RunReport:
        self.watch.stage(f"Loading {self.plan.model.name}")
        loaded = self.loading(self.plan, self.context)
        self._same_tokens(loaded)
        layout = make_layout(self.plan, loaded)
        step = step_of(self.checkpoint) if self.checkpoint else None
        self._evaluation(folder, step)
        if self.plan.precision.cpu:
            keep_freed_memory()
            keep_few_kernels(self.plan.memory.kernels_kept)
        with Trackers(self.plan, folder, step, self.watch, leader=self.leader) as trackers:
            recorder = Recorder(records.MetricsFile(folder, step) if self.leader else None, self.watch, trackers)
            if self.checkpoint and step is not None and step >= self.plan.steps:
                state = self._only_to_finish(loaded, self.checkpoint, recorder)
            else:
                trainer = self._trainer(loaded, layout, folder, [recorder, signals])
                if self.evaluations and isinstance(trainer, Loop):
                    self.evaluations.before(trainer)
                trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
                state = trainer.state
                if self.evaluations and isinstance(trainer, Loop):
                    self.evaluations.after(trainer, self._step_of_model(state))
        self.steps = state.global_step
        self.best_checkpoint = self._best(state, folder)
        if self.best_checkpoint and self.plan.arguments.load_best_model_at_end:
            load_value_head(loaded.model, folder / self.best_checkpoint)
        metrics = self._final_metrics(recorder)
        if self.evaluations:
            self.evaluations.settle(self._step_of_model(state))
        self.watch.stage("Saving")
        files = self._save(loaded, layout, folder, metrics, words)
        try_it = f'{records.invocation()} --inference --model {folder} --prompts "…"'
        return RunReport(
            self.plan,
            folder,
            metrics,
            round(time.perf_counter() - self.began, 3),
            recorder.history,
            files,
            records.versions(),
            try_it,
            evaluation=self._evaluated(loaded, folder),
        )

    def _evaluation(self, folder: Path, step: int | None) -> None:
        """What enhanced evaluation keeps and runs, where the plan has it."""
        decided = self.plan.evaluation
        if decided is None:
            return
        if decided.predictions:
            self.predictions = Predictions(folder / EVALUATION.parent)
        if decided.metrics or decided.predictions:
            self.evaluations = Evaluations(folder, self.predictions, self.watch, self.leader, step)
        if decided.benchmark:
            self.watch.stage("Loading the benchmark")
            self.benchmark = Benchmark(decided.benchmark)

    def _step_of_model(self, state: TrainerState) -> int:
        """The step whose weights the finished model has."""
        best = state.best_model_checkpoint if self.plan.arguments.load_best_model_at_end else None
        return step_of(Path(best)) if best else state.global_step

    def _evaluated(self, loaded: Loaded, folder: Path) -> dict[str, Any] | None:
        """What evaluation found, with the benchmark of the saved model."""
        found = dict(self.evaluations.found) if self.evaluations else {}
        if self.benchmark and self.leader:
            self.watch.stage("Running the benchmark")
            found["benchmark"] = self.benchmark.run(
                loaded.model, loaded.tokenizer, self.plan.arguments.per_device_eval_batch_size, folder
            )
        return found or None

    def _only_to_finish(self, loaded: Loaded, checkpoint: Path, recorder: Recorder) -> TrainerState:
        """The run was stopped after its last step and before its model was saved."""
        state = state_of(checkpoint)
        best = state.best_model_checkpoint if self.plan.arguments.load_best_model_at_end else None
        chosen = Path(best) if best else checkpoint
        restore(loaded, chosen)
        if self.plan.rollouts:
            add_decided_value_head(self.plan, self.context, loaded.model)
            load_value_head(loaded.model, chosen)
        recorder.history += [entry for entry in state.log_history if "train_runtime" not in entry]
        return state

    def _same_tokens(self, loaded: Loaded) -> None:
        text = tokenizer_disagrees(loaded.tokenizer, self.context)
        if text is not None:
            raise RunFailed(
                f"the tokenizer's files and transformers' {type(loaded.tokenizer).__name__} turn {text[:40]!r} into different tokens",
                'correct "tokenizer_class" in tokenizer_config.json, or name another --tokenizer',
            )

    def _trainer(self, loaded: Loaded, layout: BatchLayout, folder: Path, callbacks: list[Any]) -> Trainer:
        """This package's loop, or TRL's trainer with the same rows."""
        prepared, plan = self.context.prepared, self.plan
        assert prepared is not None
        if plan.schedule.patience is not None:
            callbacks = [*callbacks, EarlyStoppingCallback(early_stopping_patience=plan.schedule.patience)]
        objective = make_objective(plan)
        train = self._items(objective, prepared.train)
        evaluates = plan.schedule.evaluate != "no" or self.evaluations is not None
        valid = self._items(objective, prepared.valid) if evaluates else None
        if self.evaluations:
            callbacks = [*callbacks, self.evaluations]
        if plan.engine == "native":
            trainer = self._loop(loaded, layout, folder, callbacks, objective, train, valid)
        else:
            build = named(plan.objective.trl)
            trainer = build(plan, trainer_arguments(plan, folder), loaded, train, valid, callbacks, self.context)
        trainer.remove_callback(PrinterCallback)  # the recorder and its watch say what is to be said
        return trainer

    def _loop(
        self,
        loaded: Loaded,
        layout: BatchLayout,
        folder: Path,
        callbacks: list[Any],
        objective: Objective,
        train: Any,
        valid: Any,
    ) -> Loop:
        plan = self.plan
        augmenters: list[BatchAugmenter] = []
        if objective.make_dataset is not None:
            without_dropout(loaded.model)
        if objective.has_reference:
            augmenters.append(make_reference_logps(plan, self.context, loaded, layout))
        if plan.distillation and plan.distillation.is_used:
            pairs = objective.make_dataset is not None
            augmenters.append(make_teacher(plan, self.context, loaded, layout, self.watch, pairs=pairs))
        if plan.precision.checkpointing:
            loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
            if loaded.is_adapter:
                loaded.model.enable_input_require_grads()
        device = torch.device("cpu" if plan.precision.cpu else "cuda")
        work = flops_of(loaded.model)
        self.peak = matmul_peak(device, DTYPES[plan.precision.name]) if work else None
        started = self._rollouts(loaded, layout, folder, train, valid) if plan.rollouts else None
        loop = Loop(
            model=loaded.model,
            args=TrainingArguments(**trainer_arguments(plan, folder)),
            processing_class=loaded.tokenizer,
            callbacks=callbacks,
            layout=layout,
            objective=objective,
            throughput=Throughput(work, self.peak),
            train_rows=train,
            valid_rows=valid,
            augmenters=augmenters,
            observers=[*(started.observers if started else ()), *self._observers(loaded, layout)],
            source=started.rollouts if started else None,
        )
        for augmenter in augmenters:
            if augmenter.stage:
                self.watch.stage(augmenter.stage)
            augmenter.prepare(loop)
            if isinstance(augmenter, CachedTeacher):
                self.kept = augmenter.outcome()
        return loop

    def _observers(self, loaded: Loaded, layout: BatchLayout) -> list[Observer]:
        if self.plan.evaluation is None or self.evaluations is None:
            return []
        return make_observers(self.plan, self.context, loaded, layout, self.predictions)

    def _rollouts(self, loaded: Loaded, layout: BatchLayout, folder: Path, train: Any, valid: Any) -> Started:
        """Where answers come from that are learnt from, going on where a checkpoint left off."""
        step = step_of(self.checkpoint) if self.checkpoint else None
        shown = folder if self.leader else None
        return start_rollouts(self.plan, self.context, loaded, layout, train, valid, shown, self.checkpoint, step)

    def _items(self, objective: Objective, rows: Any) -> Any:
        """Prepared rows as the items that batches are made of."""
        return RowGroups(rows, self._groups(rows)) if objective.make_dataset is None else objective.make_dataset(rows)

    def _groups(self, rows: Any) -> list[list[int]] | None:
        return pack(rows.lengths.tolist(), self.plan.length.tokens) if self.plan.layout.packing else None

    def _best(self, state: TrainerState, folder: Path) -> str | None:
        best = state.best_model_checkpoint
        return os.path.relpath(best, folder) if best and self.plan.schedule.evaluate != "no" else None

    def _final_metrics(self, recorder: Recorder) -> dict[str, float]:
        """The last of each metric; where the best checkpoint was loaded, those of its evaluation."""
        metrics: dict[str, float] = {}
        step = (
            step_of(Path(self.best_checkpoint))
            if self.best_checkpoint and self.plan.arguments.load_best_model_at_end
            else None
        )
        for entry in recorder.history:
            if step is None or not any(name.startswith("eval_") for name in entry) or entry["step"] == step:
                metrics |= {
                    name: value
                    for name, value in entry.items()
                    if name not in ("step", "epoch", "learning_rate", "grad_norm")
                }
        return metrics

    def _save(
        self, loaded: Loaded, layout: BatchLayout, folder: Path, metrics: dict[str, float], words: list[str]
    ) -> list[str]:
        layout.for_generation(loaded.model, True)
        if not self.leader:
            return []
        assert self.context.prepared is not None
        merge = bool(self.plan.adapter and self.plan.adapter.merge)
        save_value_head(loaded.model, folder)
        with without_value_head(loaded.model):
            files = save_finished(loaded, folder, merge=merge, end_of_turn=self.context.prepared.end_of_turn)
        usage = [] if self.plan.model.head is None else how_to_score(self.plan)
        records.write_card(folder, self.plan, self.steps, metrics, words, usage)
        if self.plan.hub:
            from autotrain_llm.run.session.hub import upload

            self.watch.stage("Uploading")
            self.watch.note(f"Uploaded to {upload(folder, self.plan.hub, self.context.token)}")
        written = [name for name in (SAMPLES, VALUES, EVALUATION.parent.name) if (folder / name).exists()]
        return sorted([*files, *written, "README.md", "command.sh", "metrics.jsonl", REPORT, "run.json", CHECKPOINTS])


def make_layout(plan: Plan, loaded: Loaded) -> BatchLayout:
    """The layout that the plan decided on."""
    pad_token, scores = int(loaded.tokenizer.pad_token_id), plan.model.head is not None
    if plan.rollouts and plan.engine == "native":
        temperature = plan.rollouts.sampling.temperature
        if plan.layout.name == "padded":
            return PaddedPolicy(loaded.model, pad_token, temperature)
        return FlatPolicy(loaded.model, temperature, plan.model.attention)
    if plan.layout.name == "padded" or plan.engine != "native":  # TRL lays rows out itself
        return (PaddedScores if scores else Padded)(pad_token)
    if scores:
        return FlatScores(loaded.model, pad_token, plan.model.attention)
    return Flat(loaded.model, plan.model.attention)


def make_objective(plan: Plan) -> Objective:
    """The trainer's objective, by the name it declares, with a teacher's share in it where it has one."""
    task: Objective = named(plan.objective.function)(plan.objective.settings)
    teacher = plan.distillation
    return distilled(task, teacher.alpha, teacher.temperature) if teacher and teacher.is_used else task


def named(entry: str | None) -> Any:
    """What `module:name` names."""
    assert entry is not None  # a trainer without it is refused
    module, name = entry.split(":")
    return getattr(import_module(module), name)


def trainer_arguments(plan: Plan, folder: Path) -> dict[str, Any]:
    """The plan's arguments of transformers' Trainer, with what never varies."""
    several = plan.schedule.processes > 1
    return {
        "output_dir": str(folder / CHECKPOINTS),
        **plan.arguments.as_arguments(),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "label_names": [],
        "disable_tqdm": True,
        "report_to": "none",  # the recorder hands the trackers what it writes
        "ddp_find_unused_parameters": False if several else None,
        "ddp_backend": "gloo" if several and plan.precision.cpu else None,
        "dataloader_pin_memory": not plan.precision.cpu,
    }


def quiet_libraries(verbose: bool) -> None:
    """The libraries speak only when asked to; their progress bars never."""
    import logging
    import warnings

    transformers_logging.disable_progress_bar()
    if verbose:
        transformers_logging.set_verbosity_info()
        return
    transformers_logging.set_verbosity_error()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    torch.set_warn_always(False)
