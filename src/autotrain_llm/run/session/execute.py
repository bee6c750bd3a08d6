"""Carry out a plan, start to finish."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerState

from autotrain_llm.checks.observations import History, observe
from autotrain_llm.context.output_dir import CHECKPOINTS, TRAINED_ROWS, step_of
from autotrain_llm.context.signals import held_back
from autotrain_llm.models.identity import BASE_KEY, weights_of_base
from autotrain_llm.models.locate import complete_checkpoints
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.algorithms.recipe import make_recipe
from autotrain_llm.run.artifacts import records
from autotrain_llm.run.artifacts.metric_changes import EVALUATION
from autotrain_llm.run.artifacts.model_card import ModelCard
from autotrain_llm.run.artifacts.output_lock import OutputFolder
from autotrain_llm.run.artifacts.rounding import Rounding
from autotrain_llm.run.artifacts.saving import save_finished
from autotrain_llm.run.artifacts.trained_rows import write_trained_rows
from autotrain_llm.run.engine.allocator import keep_freed_memory, limit_cached_kernels
from autotrain_llm.run.engine.loading import Loaded, tokenizer_disagrees
from autotrain_llm.run.engine.loop import Loop
from autotrain_llm.run.engine.sharding import collect, first_process_loads, is_sharded
from autotrain_llm.run.engine.states import load_weights
from autotrain_llm.run.evaluation.enhanced import EnhancedEvaluation
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.report.write import REPORT, try_write_report
from autotrain_llm.run.session.agreement import agree
from autotrain_llm.run.session.callbacks import NOT_LOGGED, Recorder
from autotrain_llm.run.session.resume import is_finished, state_of
from autotrain_llm.run.session.run_record import RunRecord
from autotrain_llm.run.session.run_report import RunReport
from autotrain_llm.run.session.trackers import Trackers
from autotrain_llm.run.session.training import Session, make_trainer, quiet_libraries

LoadModel = Callable[[Plan, RunInputs], Loaded]
NOT_FINAL = ("step", "epoch", "learning_rate", "grad_norm")  # logged, but not metrics of the finished model


def execute(
    plan: Plan,
    inputs: RunInputs,
    progress: ProgressCallback | None = None,
    load: LoadModel | None = None,
    *,
    with_page: bool = True,
    speaks: bool = False,
) -> RunReport:
    """Carry out a plan on its prepared rows. Raises RunFailed, Interrupted or Refused; complete checkpoints stay on disk.

    `load` replaces the recipe's loading of the model, for a caller that trains one model many times. `with_page` writes report.html. `progress` is that of the
    first process, and with `speaks` of the first on another machine: its report says too what can be tried.
    """
    leader = inputs.is_first_process
    progress = (progress if leader or speaks else None) or ProgressCallback()
    quiet_libraries(inputs.verbose)
    agree(plan, progress)
    checkpoint = Path(plan.output.checkpoint) if plan.output.checkpoint else None
    output = OutputFolder(
        Path(plan.output.dir).expanduser(), overwrite=plan.output.overwrite, checkpoint=checkpoint, leader=leader
    )
    with output as folder:
        try:
            with RunRecord(plan, inputs, folder.path) as record:
                report = _carry_out(plan, inputs, load, folder.path, record, progress, leader, speaks)
        finally:
            with held_back():
                progress.finish()
                if leader and with_page:
                    try_write_report(folder.path, progress)
        if leader:
            folder.complete()
    return report


def _carry_out(
    plan: Plan,
    inputs: RunInputs,
    load: LoadModel | None,
    folder: Path,
    record: RunRecord,
    progress: ProgressCallback,
    leader: bool,
    speaks: bool,
) -> RunReport:
    """Load, train, evaluate, save."""
    checkpoint = Path(plan.output.checkpoint) if plan.output.checkpoint else None
    resumed_at = step_of(checkpoint) if checkpoint else None

    progress.stage(f"Loading {plan.model.name}")
    recipe = make_recipe(plan, inputs)
    if leader and not plan.rollouts:  # whose prompts aren't trained on; samples.jsonl has the answers that are
        write_trained_rows(folder, inputs.prepared, inputs.tokenizer)
    with first_process_loads(plan, quantised=bool(plan.model.quantization)):
        loaded = load(plan, inputs) if load else recipe.load()
    if leader:
        _refuse_other_tokens(loaded, inputs)
        if loaded.is_adapter and inputs.model is not None:
            record.add(**{BASE_KEY: weights_of_base(inputs.model.located)})
    layout = recipe.make_layout(loaded)
    evaluation = EnhancedEvaluation(plan, folder, progress, leader, resumed_at)
    if plan.precision.cpu:
        keep_freed_memory()
        limit_cached_kernels(plan.memory.kernels_kept)
    session = Session(plan, inputs, recipe, loaded, layout, evaluation, folder, checkpoint, progress, leader)

    outcome: dict[str, Any] = {}
    with Trackers(plan, inputs.findings, folder, resumed_at, progress, leader=leader) as trackers:
        metrics_file = records.MetricsFile(folder, resumed_at) if leader else None
        recorder = Recorder(metrics_file, progress, trackers, plan, folder)
        state = _train(session, recorder, record, outcome)

        best = state.best_model_checkpoint if plan.schedule.evaluate != "no" else None
        has_best = bool(best and plan.arguments.load_best_model_at_end)
        if best and has_best:
            recipe.restore(loaded.model, Path(best))
        history = [*_history_before(state, resumed_at), *recorder.history]
        metrics = final_metrics(history, step_of(Path(best)) if best and has_best else None)
        if evaluation.record:
            evaluation.record.settle(_step_of_model(plan, state))
        progress.stage("Saving")
        model_step = _step_of_model(plan, state)
        files, rounded_away = _save(session, state.global_step, metrics, record.command)
        checkpoints = tuple(complete_checkpoints(folder))
        observed = observe(plan, History(tuple(history), str(folder), True, checkpoints, model_step, rounded_away))
        observations = (*observed, *recipe.observations())
        trackers.add_findings(state.global_step, observations)
        report = RunReport(
            plan,
            folder,
            metrics,
            record.seconds,
            recorder.history,
            files,
            records.versions(),
            records.command_to_try(folder, inputs.dataset, inputs.prepared.prompt_format) if leader or speaks else "",
            model_step=model_step,
            last_step=state.global_step,
            evaluation=evaluation.results(loaded),
            observations=observations,
            rounded_away=rounded_away,
        )
    best_folder = os.path.relpath(best, folder) if best else None
    if rounded_away is not None:
        outcome["rounded_away"] = rounded_away
    record.finish(report, {"best_checkpoint": best_folder, "steps": state.global_step, **outcome, **recipe.outcome()})
    return report


def _train(session: Session, recorder: Recorder, record: RunRecord, outcome: dict[str, Any]) -> TrainerState:
    """Train and evaluate, or only finish a run that was stopped after its last step. What a run's record has of it is added to `outcome`."""
    plan, evaluation, checkpoint = session.plan, session.evaluation, session.checkpoint
    if checkpoint and is_finished(plan, checkpoint):
        evaluator = make_trainer(session, [recorder]) if evaluation.record else None
        state = _only_to_finish(session, checkpoint, recorder)
        if evaluator is not None:
            evaluation.after(evaluator, _step_of_model(plan, state))
        return state
    trainer = make_trainer(session, [recorder, record.signals])
    if isinstance(trainer, Loop) and trainer.throughput.peak is not None:
        outcome["matmul_peak"] = asdict(trainer.throughput.peak)
    if isinstance(trainer, Loop):
        record.signals.before_the_end = trainer.finish_checkpoint
    evaluation.before(trainer)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    evaluation.after(trainer, _step_of_model(plan, trainer.state))
    return trainer.state


def _refuse_other_tokens(loaded: Loaded, inputs: RunInputs) -> None:
    """The rows were tokenized without transformers, whose tokenizer must give the same ids."""
    text = tokenizer_disagrees(loaded.tokenizer, inputs)
    if text is not None:
        raise RunFailed(
            f"the tokenizer's files and transformers' {type(loaded.tokenizer).__name__} turn {text[:40]!r} into different tokens",
            'correct "tokenizer_class" in tokenizer_config.json, or name another --tokenizer',
        )


def _only_to_finish(session: Session, checkpoint: Path, recorder: Recorder) -> TrainerState:
    """Restore a run that was stopped after its last step and before its model was saved."""
    state = state_of(checkpoint)
    best = state.best_model_checkpoint if session.plan.arguments.load_best_model_at_end else None
    source = Path(best) if best else checkpoint
    load_weights(session.loaded.model, source)
    session.recipe.restore(session.loaded.model, source)
    recorder.history += [entry for entry in state.log_history if "train_runtime" not in entry]
    return state


def _history_before(state: TrainerState, resumed_at: int | None) -> list[dict[str, float]]:
    """What was logged before a run was resumed; empty for a new run."""
    entries = [entry for entry in state.log_history if entry["step"] <= (resumed_at or 0)]
    return [{name: value for name, value in entry.items() if name not in NOT_LOGGED} for entry in entries]


def _step_of_model(plan: Plan, state: TrainerState) -> int:
    """The step whose weights the finished model has."""
    best = state.best_model_checkpoint if plan.arguments.load_best_model_at_end else None
    return step_of(Path(best)) if best else state.global_step


def final_metrics(history: list[dict[str, float]], best_step: int | None) -> dict[str, float]:
    """The last value of each metric; if the finished model is that of `best_step`, the last until then, and of evaluation metrics that of this step."""
    metrics: dict[str, float] = {}
    for entry in history:
        if best_step is not None and entry["step"] > best_step:
            continue
        if best_step is None or not any(name.startswith("eval_") for name in entry) or entry["step"] == best_step:
            metrics |= {name: value for name, value in entry.items() if name not in NOT_FINAL}
    return metrics


def _save(
    session: Session, steps: int, metrics: dict[str, float], command: list[str]
) -> tuple[list[str], float | None]:
    """Write the finished model and its card, upload them if requested. Returns the names of the files, and the share of the change that rounding undoes."""
    plan, inputs, folder, loaded, recipe = (
        session.plan,
        session.inputs,
        session.folder,
        session.loaded,
        session.recipe,
    )
    session.layout.for_generation(loaded.model, True)
    merge = bool(plan.adapter and plan.adapter.merge)
    source = inputs.model.located if inputs.model else None
    rounding = Rounding(source, loaded.saved_dtype)
    if is_sharded(loaded.model):
        dtype = None if loaded.is_adapter else loaded.saved_dtype
        trained_only = loaded.is_adapter and not merge
        collect(loaded.model, dtype, keeps=session.leader, trained_only=trained_only, before_rounding=rounding.add)
    if not session.leader:
        return [], None
    with recipe.saving(loaded.model, folder):
        files = save_finished(
            loaded,
            folder,
            merge=merge,
            end_of_turn=inputs.prepared.end_of_turn,
            prompt_format=inputs.prepared.prompt_format,
            rounding=rounding,
        )
    card = ModelCard(folder, plan, inputs.prepared.prompt_format, inputs.tokenizer, source, recipe.usage())
    card.write(steps, metrics, command)
    if plan.hub:
        from autotrain_llm.run.session.hub import upload

        session.progress.stage("Uploading")
        session.progress.note(f"Uploaded to {upload(folder, plan.hub, inputs.token)}")
    written = [name for name in (*recipe.files(), EVALUATION.parent.name, TRAINED_ROWS) if (folder / name).exists()]
    names = [*files, *written, "README.md", "command.sh", "metrics.jsonl", REPORT, "run.json", CHECKPOINTS]
    return sorted(names), rounding.lost
