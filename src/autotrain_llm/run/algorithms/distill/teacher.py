"""The teacher: a frozen model that runs with each batch (online), or once over all rows before the first step (cached)."""

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
from autotrain_llm.run.engine.layouts import BatchLayout, Flat, prepared_as
from autotrain_llm.run.engine.loading import (
    Loaded,
    dtype_of,
    from_located,
    in_type_of_products,
    loading_options,
    quantization,
)
from autotrain_llm.run.engine.padded import padded_head, prepare_padded

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

LITTLE = 0.5  # of a teacher's probability
Rows = dict[str, ManyRows]
OverProcesses = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Teacher:
    """A frozen model with its head."""

    model: nn.Module
    head: Head
    layout: BatchLayout

    def hidden_states(self, batch: dict[str, Any], vocab_size: int) -> TeacherHidden:
        """The hidden states (or logits) at each target of a batch, with the head cut to the first `vocab_size` tokens."""
        with torch.no_grad():
            hidden = self.layout.forward(self.model, batch, HIDDEN).hidden
        assert hidden is not None
        return TeacherHidden(
            hidden if self.head.weight is not None else hidden[:, :vocab_size], self.head.first_tokens(vocab_size)
        )


class _Targets:
    """Makes the distillation target of a batch: shared by both kinds of teacher."""

    def __init__(self, plan: Plan, vocab_size: int, pairs: bool) -> None:
        assert plan.distillation is not None
        self.settings, self.vocab_size, self.pairs = plan.distillation, vocab_size, pairs

    def of(self, batch: dict[str, Any], said: TeacherHidden | TopKLogprobs) -> dict[str, Any]:
        """The batch with its `distill_target`."""
        where, weights = of_chosen(batch) if self.pairs else (None, None)
        targets = batch["target_labels"].numel() if where is None else where.numel()
        heard = (said.hidden if isinstance(said, TeacherHidden) else said.ids).shape[0]
        if heard != targets:
            raise RuntimeError(f"the teacher was asked about {heard} tokens, and {targets} are learnt")
        decided = self.settings
        distill_target = DistillTarget(
            said, decided.loss, decided.temperature, decided.alpha, self.vocab_size, where, weights, self.pairs
        )
        return batch | {"distill_target": distill_target}


class OnlineTeacher:
    """Runs the teacher on each batch. `rows` are those it sees, where they are not the student's."""

    stage: str | None = None

    def __init__(self, teacher: Teacher, targets: _Targets, rows: Rows | None) -> None:
        self.teacher, self.targets, self.rows = teacher, targets, rows

    def prepare(self, loop: Loop) -> None:
        self.teacher.model.to(loop.args.device)
        self.teacher.head = head_of(self.teacher.model, self.teacher.layout)
        if self.rows is not None:
            attach_teacher_inputs(loop, {side: TeacherRows(rows) for side, rows in self.rows.items()})

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: OverProcesses) -> dict[str, Any]:
        seen = batch.get("teacher_rows", batch)
        return self.targets.of(batch, self.teacher.hidden_states(seen, self.targets.vocab_size))


class CachedTeacher:
    """Runs the teacher once over all rows, or reads its top-k log-probabilities from the cache; then the model is freed."""

    stage: str | None = "Running the teacher"

    def __init__(
        self,
        load: Callable[[], Teacher],
        targets: _Targets,
        rows: Rows,
        places: dict[str, Path | None],
        watch: ProgressCallback,
    ) -> None:
        self.load, self.targets, self.rows, self.places, self.watch = load, targets, rows, places, watch
        self.kept: dict[str, cache.CachedTopK] = {}
        self.seconds = 0.0

    def prepare(self, loop: Loop) -> None:
        assert self.targets.settings.top_k is not None
        began, top_k = time.perf_counter(), min(self.targets.settings.top_k, self.targets.vocab_size)
        offsets = {side: cache.offsets_of(rows) for side, rows in self.rows.items()}
        found = {side: cache.read(self.places[side], offsets[side], top_k) for side in self.rows}
        missing = [side for side, kept in found.items() if kept is None]
        if _any_of(loop, bool(missing)):  # all processes ask, or none
            missing = list(self.rows)
            teacher = self.load()
            teacher.model.to(loop.args.device)
            teacher.head = head_of(teacher.model, teacher.layout)
            found |= {side: self._ask(teacher, side, offsets[side], top_k, loop) for side in missing}
            del teacher
            gc.collect()
            if loop.args.device.type == "cuda":
                torch.cuda.empty_cache()
        self.kept = {side: kept for side, kept in found.items() if kept is not None}
        attach_teacher_inputs(loop, self.kept)
        self.seconds = round(time.perf_counter() - began, 3)
        share = self.kept["train"].share
        from_where = "computed now" if missing else "cached by an earlier run"
        advice = "; a lower --distill-temperature or more of --distill-top-k keep more" if share < LITTLE else ""
        self.watch.note(
            f"The teacher's top {top_k} tokens at each position ({from_where}): {share:.1%} of its probability{advice}"
        )

    def _ask(self, teacher: Teacher, side: str, offsets: Any, top_k: int, loop: Loop) -> cache.CachedTopK:
        """Run the teacher over one side of the rows. The ranks take turns; the first rank of each machine writes, the others keep the result in memory."""
        args = loop.args
        writing = cache.CacheWriter(self.places[side] if args.local_process_index == 0 else None, offsets, top_k)
        rows = self.rows[side]
        turns = list(no_grad_batches(len(rows[number][0]) for number in range(len(rows))))
        try:
            for first in range(0, len(turns), args.world_size):
                mine = first + args.process_index
                own = self._say(teacher, side, turns[mine], top_k, loop) if mine < len(turns) else None
                for turn in range(first, min(first + args.world_size, len(turns))):
                    count = int(offsets[turns[turn].stop] - offsets[turns[turn].start])
                    writing.put(turns[turn], _shared(own if turn == mine else None, count, top_k, loop))
        except BaseException:
            writing.abandon()
            raise
        return writing.finish()

    def _say(self, teacher: Teacher, side: str, turn: range, top_k: int, loop: Loop) -> TopKLogprobs:
        batch = loop.on_device(teacher.layout.collate([self.rows[side][number] for number in turn]))
        with loop.accelerator.autocast():
            heard = teacher.hidden_states(batch, self.targets.vocab_size)
            return topk_logprobs(heard, top_k, self.targets.settings.temperature)

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: OverProcesses) -> dict[str, Any]:
        return self.targets.of(batch, TopKLogprobs(**batch["topk_logprobs"]))

    def outcome(self) -> dict[str, Any]:
        """What run.json records of the cache."""
        top_k = int(self.kept["train"].ids.shape[1])
        shares = {side: round(kept.share, 6) for side, kept in self.kept.items()}
        return {"top_k": top_k, "kept_probability": shares, "seconds": self.seconds}


def _any_of(loop: Loop, here: bool) -> bool:
    return bool(loop.over_processes(torch.tensor(float(here), device=loop.args.device)) > 0)


def _shared(own: TopKLogprobs | None, count: int, top_k: int, loop: Loop) -> TopKLogprobs:
    """Broadcast one rank's top-k log-probabilities to all ranks."""
    if loop.args.world_size == 1:
        assert own is not None
        return own
    device = loop.args.device
    empty = torch.zeros(count, top_k, device=device)
    said = own or TopKLogprobs(empty.long(), empty, empty.new_zeros(count))
    return TopKLogprobs(*(loop.over_processes(one) for one in (said.ids, said.logprobs.float(), said.rest.float())))


def attach_teacher_inputs(loop: Loop, teacher_inputs: dict[str, Any]) -> None:
    """Make the loop's batches come with the teacher inputs of their rows."""
    loop.train_rows = IndexedDataset(loop.train_rows, teacher_inputs["train"])
    if loop.valid_rows is not None:
        loop.valid_rows = IndexedDataset(loop.valid_rows, teacher_inputs["valid"])


def make_teacher(
    plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout, watch: ProgressCallback, *, pairs: bool
) -> OnlineTeacher | CachedTeacher:
    """The teacher of the plan, in the layout of the student. Called before the first step, after the student was loaded."""
    decided, prepared = plan.distillation, inputs.prepared
    assert decided is not None and prepared is not None and inputs.teacher is not None
    if not isinstance(layout, Flat):
        prepare_padded(loaded.model)
    vocab_size = _shared_vocab_size(loaded.model, layout, decided, watch)
    targets = _Targets(plan, vocab_size, pairs)
    evaluated = plan.schedule.evaluate != "no"
    other = inputs.teacher_rows
    source = {"train": prepared.train, "valid": prepared.valid} if other is None else vars(other)
    rows: Rows = {side: answer_rows(source[side]) for side in (("train", "valid") if evaluated else ("train",))}
    if not decided.top_k:
        own_rows = rows if pairs or other is not None else None
        return OnlineTeacher(_loaded(plan, inputs, layout), targets, own_rows)
    places = {side: _place(plan, inputs, vocab_size, side) for side in rows}
    return CachedTeacher(lambda: _loaded(plan, inputs, layout), targets, rows, places, watch)


def _shared_vocab_size(student: nn.Module, layout: BatchLayout, decided: DistillPlan, watch: ProgressCallback) -> int:
    """How many tokens are compared: those that both vocabularies have."""
    own, sizes = _rows_of_head(student, layout), decided.embedding_rows
    if sizes is None:
        return min(own, decided.tokens or own)
    vocab_size = min(own, sizes.teacher)
    watch.note(
        f"The student's embedding has {sizes.student} rows and the teacher's {sizes.teacher}: they are compared over the first {vocab_size} tokens"
    )
    return vocab_size


def _rows_of_head(model: nn.Module, layout: BatchLayout) -> int:
    head = head_of(model, layout)
    return int(causal_model(model).config.get_text_config().vocab_size) if head.weight is None else head.weight.shape[0]


def _place(plan: Plan, inputs: RunInputs, vocab_size: int, side: str) -> Path | None:
    """The cache folder, named by rows, weights and settings."""
    if inputs.cache is None or inputs.teacher is None or plan.distillation is None:
        return None
    folder = inputs.cache.parent / "distillation"
    decided = plan.distillation
    weights = content_of(inputs.teacher.located, folder / "digests.json")
    settings = [decided.top_k, decided.temperature, decided.quantization, decided.teacher_prompt_template]
    rows = [inputs.prepared.fingerprint, side, plan.layout.name == "padded"]
    return cache.cache_path(folder, *rows, weights, vocab_size, plan.precision.name, *settings)


def _loaded(plan: Plan, inputs: RunInputs, layout: BatchLayout) -> Teacher:
    model = load_teacher(plan, inputs).requires_grad_(False).eval()
    model = prepared_as(layout, model) if isinstance(layout, Flat) else prepare_padded(model)
    return Teacher(model, head_of(model, layout), layout)


def head_of(model: nn.Module, layout: BatchLayout) -> Head:
    """The head of a model in this layout."""
    return flat_head(causal_model(model)) if isinstance(layout, Flat) else padded_head(model)


def load_teacher(plan: Plan, inputs: RunInputs) -> nn.Module:
    """The teacher in the dtype of its files, or in 4 bits; an adapter is merged into its base, unless that is quantised."""
    assert plan.distillation is not None and inputs.teacher is not None
    located = inputs.teacher.located
    options = loading_options(plan, inputs.token)
    for of_student in ("revision", "quantization_config"):
        options.pop(of_student, None)
    bits = plan.distillation.quantization
    if bits:
        options["quantization_config"] = quantization(bits)
    model = from_located(
        located, own_type(located, plan), options, trainable_adapter=bool(bits) and located.kind == ADAPTER
    )
    return model if bits else in_type_of_products(model, plan.precision.name)


def own_type(located: Located, plan: Plan) -> torch.dtype:
    """The dtype of the files; fp16 is widened to float32 on a CPU."""
    while located.base is not None:
        located = located.base
    kind = dtype_of(located) or torch.float32
    return torch.float32 if kind == torch.float16 and plan.precision.cpu else kind
