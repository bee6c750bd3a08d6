"""The teacher of a distillation run: online (run on each batch) or cached (run on all rows before the first step)."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autotrain_llm.data.order import no_grad_batches
from autotrain_llm.data.tokenize.teacher_rows import ManyRows, answer_rows
from autotrain_llm.models.identity import content_of
from autotrain_llm.models.locate import ADAPTER, Located
from autotrain_llm.planning.plan import DistillPlan, Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.progress import ProgressCallback
from autotrain_llm.run.algorithms.distill import logits_cache as cache
from autotrain_llm.run.algorithms.distill.dataset import IndexedDataset, TeacherRows
from autotrain_llm.run.algorithms.distill.objective import of_chosen
from autotrain_llm.run.engine.flat.distillation_loss import (
    DistillTarget,
    TeacherHidden,
    TopKLogprobs,
    topk_logprobs,
)
from autotrain_llm.run.engine.flat.model import HIDDEN, causal_model, flat_head
from autotrain_llm.run.engine.flat.tiled_head import Head
from autotrain_llm.run.engine.group import AllReduceSum
from autotrain_llm.run.engine.layouts import BatchLayout, Flat, prepare_second_model
from autotrain_llm.run.engine.loading import (
    Loaded,
    cast_linear_weights,
    dtype_of,
    from_located,
    loading_options,
    quantization,
    storage_dtype,
)
from autotrain_llm.run.engine.padded import padded_head, prepare_padded
from autotrain_llm.run.engine.sharding import first_process_loads

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

LOW_COVERAGE = 0.5  # mean probability of the cached tokens below which a run says how to raise it
Rows = dict[str, ManyRows]


@dataclass
class Teacher:
    """A frozen model with its output head."""

    model: nn.Module
    head: Head
    layout: BatchLayout

    def hidden_states(self, batch: dict[str, Any], vocab_size: int) -> TeacherHidden:
        """The last hidden states at each target of a batch, with the head cut to the first `vocab_size` tokens."""
        with torch.no_grad():
            hidden = self.layout.forward(self.model, batch, HIDDEN).hidden
        assert hidden is not None
        self.head = head_of(self.model, self.layout)  # a divided model's is whole from its forward on
        # A head without a weight matrix is the identity: the layout already returns logits, which are cut instead.
        return TeacherHidden(
            hidden if self.head.weight is not None else hidden[:, :vocab_size], self.head.first_tokens(vocab_size)
        )


class _Targets:
    """Makes the `distill_target` of a batch, for online and cached teachers: the settings, and which targets count."""

    def __init__(self, plan: Plan, vocab_size: int, pairs: bool) -> None:
        assert plan.distillation is not None
        self.settings, self.vocab_size, self.pairs = plan.distillation, vocab_size, pairs

    def add_to(self, batch: dict[str, Any], teacher: TeacherHidden | TopKLogprobs) -> dict[str, Any]:
        """The batch with its `distill_target`."""
        indices, weights = of_chosen(batch) if self.pairs else (None, None)
        targets = batch["target_labels"].numel() if indices is None else indices.numel()
        teacher_targets = (teacher.hidden if isinstance(teacher, TeacherHidden) else teacher.ids).shape[0]
        if teacher_targets != targets:
            raise RuntimeError(
                f"the teacher has outputs for {teacher_targets} tokens, and the student trains on {targets}"
            )
        settings = self.settings
        distill_target = DistillTarget(
            teacher, settings.loss, settings.temperature, settings.alpha, self.vocab_size, indices, weights, self.pairs
        )
        return batch | {"distill_target": distill_target}


class OnlineTeacher:
    """Runs the teacher on each batch. `rows` are the teacher's inputs, or None if they are the student's."""

    stage: str | None = None

    def __init__(self, teacher: Teacher, targets: _Targets, rows: Rows | None) -> None:
        self.teacher, self.targets, self.rows = teacher, targets, rows

    def prepare(self, loop: Loop) -> None:
        loop.place(self.teacher.model)
        if self.rows is not None:
            attach_teacher_inputs(loop, {side: TeacherRows(rows) for side, rows in self.rows.items()})

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: AllReduceSum) -> dict[str, Any]:
        inputs = batch.get("teacher_rows", batch)
        return self.targets.add_to(batch, self.teacher.hidden_states(inputs, self.targets.vocab_size))


class CachedTeacher:
    """Runs the teacher once on all rows, or reads its cached top-k log-probabilities; the teacher is then freed."""

    stage: str | None = "Running the teacher"

    def __init__(
        self,
        load: Callable[[], Teacher],
        targets: _Targets,
        rows: Rows,
        paths: dict[str, Path | None],
        progress: ProgressCallback,
    ) -> None:
        self.load, self.targets, self.rows, self.paths, self.progress = load, targets, rows, paths, progress
        self.cached: dict[str, cache.CachedTopK] = {}
        self.seconds = 0.0

    def prepare(self, loop: Loop) -> None:
        assert self.targets.settings.top_k is not None
        began, top_k = time.perf_counter(), min(self.targets.settings.top_k, self.targets.vocab_size)
        offsets = {side: cache.offsets_of(rows) for side, rows in self.rows.items()}
        cached = {side: cache.read(self.paths[side], offsets[side], top_k) for side in self.rows}
        missing = [side for side, topk in cached.items() if topk is None]
        # Processes on different machines may find different caches: all of them run the teacher, or none.
        if _on_any_process(loop, bool(missing)):
            missing = list(self.rows)
            teacher = self.load()
            loop.place(teacher.model)
            cached |= {side: self._compute(teacher, side, offsets[side], top_k, loop) for side in missing}
            del teacher
            gc.collect()
            if loop.args.device.type == "cuda":
                torch.cuda.empty_cache()
        self.cached = {side: topk for side, topk in cached.items() if topk is not None}
        attach_teacher_inputs(loop, self.cached)
        self.seconds = round(time.perf_counter() - began, 3)
        coverage = self.cached["train"].coverage
        origin = "computed now" if missing else "cached by an earlier run"
        advice = (
            "; a lower --distill-temperature or a higher --distill-top-k covers more" if coverage < LOW_COVERAGE else ""
        )
        self.progress.note(
            f"The teacher's top {top_k} tokens at each position ({origin}) have {coverage:.1%} of its probability{advice}"
        )

    def _compute(self, teacher: Teacher, side: str, offsets: Any, top_k: int, loop: Loop) -> cache.CachedTopK:
        """Process i runs every world_size-th batch, starting with the i-th. The first process of each machine writes the cache, the others keep
        it in memory."""
        args = loop.args
        writer = cache.CacheWriter(self.paths[side] if args.local_process_index == 0 else None, offsets, top_k)
        rows = self.rows[side]
        batches = list(no_grad_batches(len(rows[index][0]) for index in range(len(rows))))
        try:
            for first in range(0, len(batches), args.world_size):
                mine = first + args.process_index
                # A process without a batch in the last round runs the last one too: all call a divided teacher equally often.
                own = self._forward(teacher, side, batches[min(mine, len(batches) - 1)], top_k, loop)
                for index in range(first, min(first + args.world_size, len(batches))):
                    count = int(offsets[batches[index].stop] - offsets[batches[index].start])
                    writer.put(batches[index], _broadcast(own if index == mine else None, count, top_k, loop))
        except BaseException:
            writer.abandon()
            raise
        return writer.finish()

    def _forward(self, teacher: Teacher, side: str, rows: range, top_k: int, loop: Loop) -> TopKLogprobs:
        batch = loop.on_device(teacher.layout.collate([self.rows[side][index] for index in rows]))
        with loop.autocast():
            hidden = teacher.hidden_states(batch, self.targets.vocab_size)
            return topk_logprobs(hidden, top_k, self.targets.settings.temperature)

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: AllReduceSum) -> dict[str, Any]:
        return self.targets.add_to(batch, TopKLogprobs(**batch["topk_logprobs"]))

    def outcome(self) -> dict[str, Any]:
        """What run.json records: k, the mean probability that the cached tokens cover, and the seconds it took."""
        top_k = int(self.cached["train"].ids.shape[1])
        coverage = {side: round(topk.coverage, 6) for side, topk in self.cached.items()}
        return {"top_k": top_k, "kept_probability": coverage, "seconds": self.seconds}


def _on_any_process(loop: Loop, here: bool) -> bool:
    return bool(loop.over_processes(torch.tensor(float(here), device=loop.args.device)) > 0)


def _broadcast(own: TopKLogprobs | None, count: int, top_k: int, loop: Loop) -> TopKLogprobs:
    """Broadcast one process's top-k log-probabilities, those where `own` is not None, to all processes."""
    if loop.args.world_size == 1:
        assert own is not None
        return own
    device = loop.args.device
    empty = torch.zeros(count, top_k, device=device)
    # Summed with the zeros of all other processes, which is a broadcast without knowing the sender.
    topk = own or TopKLogprobs(empty.long(), empty, empty.new_zeros(count))
    return TopKLogprobs(*(loop.over_processes(part) for part in (topk.ids, topk.logprobs.float(), topk.rest.float())))


def attach_teacher_inputs(loop: Loop, teacher_inputs: dict[str, Any]) -> None:
    """Add the teacher's inputs or outputs of each row to the loop's batches."""
    loop.train_rows = IndexedDataset(loop.train_rows, teacher_inputs["train"])
    if loop.valid_rows is not None:
        loop.valid_rows = IndexedDataset(loop.valid_rows, teacher_inputs["valid"])


def make_teacher(
    plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, progress: ProgressCallback, *, pairs: bool
) -> OnlineTeacher | CachedTeacher:
    """The plan's teacher, with the student's batch layout. Called after the student was loaded and before the first step."""
    settings, prepared = plan.distillation, inputs.prepared
    assert settings is not None and prepared is not None and inputs.teacher is not None
    if not isinstance(layout, Flat):
        prepare_padded(loaded.model)
    vocab_size = _shared_vocab_size(loaded.model, layout, settings, progress)
    targets = _Targets(plan, vocab_size, pairs)
    sides = ("train",) if plan.schedule.evaluate == "no" else ("train", "valid")
    teacher_rows = inputs.teacher_rows
    source = {"train": prepared.train, "valid": prepared.valid} if teacher_rows is None else vars(teacher_rows)
    rows: Rows = {side: answer_rows(source[side]) for side in sides}
    if not settings.top_k:
        own_rows = rows if pairs or teacher_rows is not None else None
        return OnlineTeacher(_loaded(plan, inputs, layout), targets, own_rows)
    paths = {side: _cache_path(plan, inputs, vocab_size, side) for side in rows}
    return CachedTeacher(lambda: _loaded(plan, inputs, layout), targets, rows, paths, progress)


def _shared_vocab_size(
    student: nn.Module, layout: BatchLayout, settings: DistillPlan, progress: ProgressCallback
) -> int:
    """The number of tokens over which student and teacher are compared: those that both have an embedding row for."""
    own, sizes = _head_rows(student, layout), settings.embedding_rows
    if sizes is None:
        return min(own, settings.tokens or own)
    vocab_size = min(own, sizes.teacher)
    progress.note(
        f"The student's embedding has {sizes.student} rows and the teacher's {sizes.teacher}: they are compared over the first {vocab_size} tokens"
    )
    return vocab_size


def _head_rows(model: nn.Module, layout: BatchLayout) -> int:
    head = head_of(model, layout)
    return int(causal_model(model).config.get_text_config().vocab_size) if head.weight is None else head.weight.shape[0]


def _cache_path(plan: Plan, inputs: RunInputs, vocab_size: int, side: str) -> Path | None:
    """The cache folder, named by a digest of the rows, the weights and all settings that change the log-probabilities."""
    if inputs.cache is None or inputs.teacher is None or plan.distillation is None:
        return None
    folder = inputs.cache.parent / "distillation"
    distillation = plan.distillation
    weights = content_of(inputs.teacher.located, folder / "digests.json")
    settings = [
        distillation.top_k,
        distillation.temperature,
        distillation.quantization,
        distillation.teacher_prompt_template,
    ]
    rows = [inputs.prepared.fingerprint_of(side), side, plan.layout.name == "padded"]
    return cache.cache_path(folder, *rows, weights, vocab_size, plan.precision.name, *settings)


def _loaded(plan: Plan, inputs: RunInputs, layout: BatchLayout) -> Teacher:
    model = load_teacher(plan, inputs).requires_grad_(False).eval()
    model = prepare_second_model(layout, model) if isinstance(layout, Flat) else prepare_padded(model)
    return Teacher(model, head_of(model, layout), layout)


def head_of(model: nn.Module, layout: BatchLayout) -> Head:
    """The output head of a model with this layout."""
    return flat_head(causal_model(model)) if isinstance(layout, Flat) else padded_head(model)


def load_teacher(plan: Plan, inputs: RunInputs) -> nn.Module:
    """The teacher in the dtype of its files, or quantised; an adapter is merged into its base unless the base is quantised."""
    assert plan.distillation is not None and inputs.teacher is not None
    located = inputs.teacher.located
    options = loading_options(plan, inputs.token)
    for of_student in ("revision", "quantization_config"):
        options.pop(of_student, None)
    bits = plan.distillation.quantization
    if bits:
        options["quantization_config"] = quantization(bits, storage_dtype(plan))
    with first_process_loads(plan, quantised=bool(bits)):
        model = from_located(
            located, teacher_dtype(located, plan), options, trainable_adapter=bool(bits) and located.kind == ADAPTER
        )
    return model if bits else cast_linear_weights(model, plan.precision.name)


def teacher_dtype(located: Located, plan: Plan) -> torch.dtype:
    """The dtype of the files; float16 becomes float32 on a CPU, where its range is too narrow to compute in."""
    while located.base is not None:
        located = located.base
    dtype = dtype_of(located) or torch.float32
    return torch.float32 if dtype == torch.float16 and plan.precision.cpu else dtype
