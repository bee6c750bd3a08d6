"""Make the trainer that carries out a plan: this package's loop, or TRL's own trainer with the same rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.context.output_dir import CHECKPOINTS, step_of
from autotrain_llm.data.order import ranges_of
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.algorithms.recipe import Recipe, Started, load_entry
from autotrain_llm.run.artifacts.checkpoint_list import write_list
from autotrain_llm.run.engine.batches import items_of_parts, training_order
from autotrain_llm.run.engine.checkpointing import checkpoint_layers
from autotrain_llm.run.engine.flat.compiled import compile_layers
from autotrain_llm.run.engine.fused_adapters import fuse_adapters
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import DTYPES, Loaded
from autotrain_llm.run.engine.loop import Loop, Part
from autotrain_llm.run.engine.peak_flops import matmul_peak
from autotrain_llm.run.engine.throughput import Throughput, flops_of
from autotrain_llm.run.evaluation.enhanced import EnhancedEvaluation
from autotrain_llm.run.session.resume import AsPlanned, CheckpointFile, SaveBest, early_stopping
from autotrain_llm.run.session.trained_weights import TrainedWeights


@dataclass(frozen=True)
class Session:
    """The state of a run after loading its model. `folder` is the output folder; a resumed run continues from `checkpoint`."""

    plan: Plan
    inputs: RunInputs
    recipe: Recipe
    loaded: Loaded
    layout: BatchLayout
    evaluation: EnhancedEvaluation
    folder: Path
    checkpoint: Path | None
    progress: ProgressCallback
    leader: bool


def make_trainer(session: Session, callbacks: Sequence[TrainerCallback]) -> Trainer:
    """The trainer with its datasets and callbacks."""
    plan, recipe, prepared = session.plan, session.recipe, session.inputs.prepared
    assert prepared is not None
    patience = plan.schedule.patience
    plus_ratio = plan.adapter.plus_ratio if plan.adapter else None
    first: list[TrainerCallback] = [AsPlanned(session.checkpoint, plus_ratio)] if session.checkpoint else []
    first += [TrainedWeights(), CheckpointFile(), *([SaveBest()] if plan.arguments.load_best_model_at_end else [])]
    stopping = [] if patience is None else [early_stopping(patience, session.checkpoint)]
    callbacks = [*first, *callbacks, *stopping, *session.evaluation.callbacks]
    train = recipe.make_dataset(prepared.train)
    evaluates = plan.schedule.evaluate != "no" or session.evaluation.record is not None
    valid = recipe.make_dataset(prepared.valid) if evaluates else None
    if plan.engine == "native":
        trainer: Trainer = _make_loop(session, train, valid, callbacks)
    else:
        assert plan.objective.trl is not None
        build = load_entry(plan.objective.trl)
        arguments = trainer_arguments(plan, session.folder)
        trainer = build(plan, arguments, session.loaded, train, valid, callbacks, session.inputs)
    trainer.remove_callback(PrinterCallback)  # the recorder reports what is logged
    return trainer


def _make_loop(session: Session, train: Any, valid: Any, callbacks: list[TrainerCallback]) -> Loop:
    plan, recipe, loaded, layout = session.plan, session.recipe, session.loaded, session.layout
    step = step_of(session.checkpoint) if session.checkpoint else None
    folder = session.folder if session.leader else None
    started = Started(loaded, layout, train, valid, folder, session.checkpoint, step, session.progress)
    recipe.prepare(loaded)
    augmenters = recipe.make_augmenters(started)
    if plan.precision.checkpointing:
        checkpoint_layers(loaded.model, plan.precision.checkpointing_kind, plan.adapter.r if plan.adapter else 0)
        if loaded.is_adapter:
            loaded.model.enable_input_require_grads()
    if plan.fusing and plan.fusing.fused:
        fuse_adapters(loaded.model)
    graphs = compile_layers(loaded.model) if plan.compiled else None
    flops = flops_of(loaded.model)
    device = torch.device("cpu" if plan.precision.cpu else "cuda")
    peak = matmul_peak(device, DTYPES[plan.precision.name]) if flops else None
    source, observers = recipe.make_source(started)
    prepared = session.inputs.prepared
    loop = Loop(
        model=loaded.model,
        args=TrainingArguments(**trainer_arguments(plan, session.folder)),
        processing_class=loaded.tokenizer,
        callbacks=callbacks,
        layout=layout,
        objective=recipe.make_objective(),
        throughput=Throughput(flops, peak),
        train_rows=train,
        valid_rows=valid,
        augmenters=augmenters,
        observers=[*observers, *session.evaluation.observers(session.inputs, loaded, layout)],
        source=source,
        train_order=training_order(train, prepared, plan.arguments.data_seed),
        valid_parts=_parts(session, valid) if prepared.mixture and valid is not None else (),
        optimizer_plan=plan.optimizer,
        graphs=graphs,
        shards=plan.sharding.shards if plan.sharding else 1,
        plus_ratio=plan.adapter.plus_ratio if plan.adapter else None,
    )
    loop.list_files = partial(write_list, args=loop.args)
    for augmenter in augmenters:
        if augmenter.stage:
            session.progress.stage(augmenter.stage)
        augmenter.prepare(loop)
    return loop


def _parts(session: Session, valid: Any) -> list[Part]:
    """The evaluation items of each source of a mixture."""
    prepared = session.inputs.prepared
    assert prepared.mixture is not None
    headline = TRAINERS[session.plan.trainer].headline
    parts = ranges_of(items_of_parts(valid, prepared.valid))
    return [
        Part(own, source.name if source.has_own_loss else None, headline)
        for source, own in zip(prepared.mixture.sources, parts, strict=True)
        if own
    ]


def trainer_arguments(plan: Plan, folder: Path) -> dict[str, Any]:
    """The arguments of transformers' Trainer: the plan's, and constant ones."""
    is_distributed = plan.schedule.processes > 1
    return {
        "output_dir": str(folder / CHECKPOINTS),
        **plan.arguments.as_arguments(),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "label_names": [],
        "disable_tqdm": True,
        "log_level_replica": "passive",  # as quiet_libraries has it, in every process
        "report_to": "none",  # the recorder forwards metrics to the trackers
        "ddp_find_unused_parameters": False if is_distributed else None,
        "ddp_backend": "gloo" if is_distributed and plan.precision.cpu else None,
        "dataloader_pin_memory": not plan.precision.cpu,
    }


LIBRARIES = r"(accelerate|bitsandbytes|datasets|peft|torch|transformers|trl)(\.|$)"


def quiet_libraries(verbose: bool) -> None:
    """Libraries log warnings only with `--verbose`; their progress bars are always off."""
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    if verbose:
        transformers_logging.set_verbosity_info()
        return
    transformers_logging.set_verbosity_error()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", module=LIBRARIES)  # a path and a line of their code
    torch.set_warn_always(False)
