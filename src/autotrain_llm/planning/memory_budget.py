"""The peak memory of a run, with its own flags and with others, and the smallest change with which it fits."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.order import (
    CACHE_GROWTH,
    NO_GRAD_TOKENS,
    SCORED_TOKENS,
    SHARED_FROM,
    VLLM_SHARE,
    DataOrder,
    EpochOrder,
)
from autotrain_llm.declare.finding import in_words
from autotrain_llm.models.checks.target_modules import matches
from autotrain_llm.params.distributed import FULL, PARAMETERS
from autotrain_llm.params.optimizers import OPTIMIZERS
from autotrain_llm.params.precision import FULL_CHECKPOINTS, OFFLOAD
from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.distillation import teacher_weights
from autotrain_llm.planning.fusing import decide_fusing
from autotrain_llm.planning.optimizers import states_of
from autotrain_llm.planning.order import epoch_order, evaluation_orders
from autotrain_llm.planning.plan import AlternativePlan, LayoutPlan, SchedulePlan
from autotrain_llm.planning.reference_model import ADAPTER_AS_IT_WAS, ANOTHER_MODEL, BEFOREHAND, COPY, decide_reference
from autotrain_llm.planning.rollout_batches import decide_anchor, decide_phases
from autotrain_llm.planning.rollouts import reward_models, sequences_at_once
from autotrain_llm.planning.schedule import accumulated_batches
from autotrain_llm.planning.sharding import obstacles
from autotrain_llm.planning.trained_tokens import trained_tokens
from autotrain_llm.planning.value_function import value_model_of
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SEPARATE, SHARED, Ppo
from autotrain_llm.trainers.sft import Sft

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata

MARGIN = 0.2  # tolerated error of the estimate: a run is refused only if it would not fit even with 20 % less
SHARE = 0.9  # of the device's memory: a run that takes more uses checkpointing, unless the flag was given
MIN_GAIN = 0.03  # of the run's own memory, without libraries: flags that save less are not shown
SUMMED = (
    "documents",
    "conversations",
)  # kinds of rows whose loss is a sum over tokens, without per-token log-probabilities
# The largest batch is searched in the first epochs only, in at most so many items.
MAX_ITEMS = 1_000_000
MAX_EPOCHS = 16
SHORTEST, LARGEST = 16, 1 << 20
DIVIDED = ("reference", "teacher", "reward models")  # models that are divided among processes as the trained one is
RANKS = (4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Batch:
    """The largest batch of a run: `tokens` as they are computed, `row` the tokens of its longest row, `span` the mean row length weighted
    by tokens, and `mean` the tokens of the mean batch."""

    tokens: int
    row: int
    span: float
    mean: float

    def part(self, size: int) -> Batch:
        """The batch of each of `size` processes that divide its tokens."""
        return replace(self, tokens=math.ceil(self.tokens / size), mean=self.mean / size)

    @property
    def shortfall(self) -> float:
        """How much smaller the mean batch is than the largest, as a share of the largest."""
        return 1 - self.mean / self.tokens if self.tokens else 0.0


class Memory:
    """The memory of one run. Every peak is None if the sizes of its model are not known."""

    def __init__(self, config: Config, context: RunContext, layout: LayoutPlan, schedule: SchedulePlan) -> None:
        self.config, self.context, self.layout, self.schedule = config, context, layout, schedule
        self.machine = context.machine
        self.half = self.computes_in != "fp32"
        self.processes = schedule.processes
        self.short_for_reference = False
        self.shards = 1
        self._batches: dict[tuple[Any, ...], Batch] = {}
        self._orders: dict[tuple[EpochOrder, int], tuple[Any, Any]] = {}

    def assuming(self, *, short_for_reference: bool | None = None, shards: int | None = None) -> Memory:
        """The memory of the same run, with a reference model that is run before the training (`short_for_reference`) or during it, and with
        weights that are divided into `shards` parts."""
        other = copy.copy(self)  # shares the cached batches and orders
        other.short_for_reference = self.short_for_reference if short_for_reference is None else short_for_reference
        other.shards = self.shards if shards is None else shards
        return other

    def is_short(self, *, checkpointing: bool | str) -> bool:
        """Whether the run takes more than SHARE of the available memory."""
        return self.bytes(checkpointing=checkpointing) > SHARE * self.available

    @property
    def computes_in(self) -> str:
        return self.config.mixed_precision or ("bf16" if self.machine.computes_bf16 else "fp32")

    @property
    def available(self) -> int:
        """Bytes available to each process: those of a machine share its main memory, and each has a GPU of its own."""
        return self.machine.device_memory // self.sharing

    @property
    def sharing(self) -> int:
        """How many processes share the memory of the device that trains."""
        return 1 if self.machine.has_cuda else self.machine.local_processes

    @cached_property
    def shape(self) -> estimate.Shape | None:
        return model_shape(self.context)

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes that a checkpoint takes on disk; 0 if the model's sizes are not known."""
        if self.shape is None:
            return 0
        adapter = self._adapter(self.shape, self.config)
        second = self._second(self.shape, self.config, adapter)
        return estimate.checkpoint_bytes(self.shape, adapter, states_of(self.config, self.shape, adapter), *second)

    @property
    def loading_bytes(self) -> int | None:
        """Bytes of a machine's main memory that its processes take together while they load the model for GPUs; None for a single process, and if
        the model's sizes are not known. A model that is going to be divided is read by one process of each machine, by each if it is quantised."""
        if self.shape is None or self.processes == 1 or not self.machine.has_cuda:
            return None
        loading = self.machine.local_processes if self.shards == 1 or self.layout.name == "padded" else 1
        if self.shards > 1 and self.config.quantization:
            return self.machine.local_processes * estimate.quantised_bytes(self.shape, self.config.quantization)
        adapter = self.config.peft and self.computes_in == "bf16" and not self.context.is_scratch
        return loading * (2 if adapter else 4) * self.shape.parameters

    def offloaded_bytes(self, checkpointing: bool | str) -> int | None:
        """Bytes of a machine's main memory that parts of models take while they are trained; None if they lie on the GPUs, or the sizes are not known."""
        if self.shape is None or self.shards == 1 or self.config.offload != PARAMETERS:
            return None
        run = self._run(self.shape, self.config, checkpointing, full=False)
        others = sum(
            size
            for name, size in self._other_models(self.shape, self.config, run.adapter, run.weight)[0].items()
            if name in DIVIDED
        )
        return self.machine.local_processes * (estimate.offloaded_bytes(self.shape, run) + others // self.shards)

    def peak(self, changes: Mapping[str, Any] | None = None, *, checkpointing: bool | str, full: bool = False) -> Any:
        """The peak with these parameters changed; `full` assumes that every row is as long as the limit allows."""
        if self.shape is None:
            return None
        config = self.config.replace(changes) if changes else self.config
        if changes and "gradient_checkpointing" in changes:
            checkpointing = changes["gradient_checkpointing"]
        return estimate.peak(self.shape, self._run(self.shape, config, checkpointing, full))

    def bytes(self, changes: Mapping[str, Any] | None = None, *, checkpointing: bool | str, full: bool = False) -> int:
        peak = self.peak(changes, checkpointing=checkpointing, full=full)
        return 0 if peak is None else peak.bytes

    # --- inputs of the formulas ---- ---------------------------------------------------------------------------------

    def _run(self, shape: estimate.Shape, config: Config, checkpointing: bool | str, full: bool) -> estimate.Run:
        spec, cuda = config.trainer_spec, self.machine.has_cuda
        batch = self._batch(config, full)
        adapter = self._adapter(shape, config)
        fusing = decide_fusing(config, self.layout, dora=config.use_dora, cpu=not cuda, computes_in=self.computes_in)
        if adapter and fusing and fusing.fused:
            adapter = replace(adapter, fused=True)
        weight = 2.0 if adapter and self.computes_in == "bf16" and not self.context.is_scratch else 4.0
        scores = spec.trains_a_scorer
        resident, precompute_bytes = self._other_models(shape, config, adapter, weight)
        statistics = self.context.prepared.statistics if self.context.prepared else {}
        share = 1.0 if spec.samples else statistics.get("trained_token_share") or 1.0
        answers_at_once, no_grad_tokens = self._answers_at_once(config), self._no_grad_tokens(config, batch, full)
        shortfall = min(1.0, batch.shortfall / estimate.SHORTFALL_OF_DISTINCT_SHAPES) if self.half and not cuda else 0.0
        shards = self.processes if config.shard == FULL else self.shards
        offloads = config.offload == PARAMETERS and shards > 1
        others = {name: size for name, size in resident.items() if name in DIVIDED}
        if shards > 1:
            resident |= {name: 0 if offloads else size // shards for name, size in others.items()}
            precompute_bytes = 0 if offloads else precompute_bytes // shards
        if self.processes > 1 and shards == 1:
            resident["buckets of gradients"] = 4 * estimate.trainable_values(shape, adapter)
        second, second_adapter = self._second(shape, config, adapter)
        return estimate.Run(
            tokens=batch.tokens,
            targets=0 if scores else max(1, math.ceil(share * batch.tokens)),
            row=batch.row,
            span=batch.span,
            shortfall=batch.shortfall,
            device="cuda" if cuda else "cpu",
            half=self.half,
            padded=self.layout.name == "padded",
            eager=config.attn_implementation == "eager",
            checkpointing=checkpointing,
            accumulates=self._accumulated(config) > 1,
            states=states_of(config, shape, adapter),
            temporary=OPTIMIZERS[config.optimizer].temporary,
            weight=weight,
            quantised=config.quantization,
            adapter=adapter,
            scores=scores,
            by_token=not scores and spec.rows not in SUMMED,
            teacher_hidden_size=self._teachers_width(config),
            second=second,
            second_adapter=second_adapter,
            merges=bool(adapter and config.merge_adapter),
            no_grad_tokens=no_grad_tokens,
            kernels=int(shortfall * self._kernels(config, batch.tokens, no_grad_tokens)),
            precompute_bytes=precompute_bytes,
            kv_cache_bytes=int(
                answers_at_once * (self._longest(config) + CACHE_GROWTH) * self._kv_bytes_of_token(shape)
            ),
            answers_at_once=answers_at_once,
            resident=resident,
            shards=shards,
            offloads=offloads,
            whole_beside=max(others.values(), default=0) if spec.samples and shards > 1 else 0,
        )

    def _adapter(self, shape: estimate.Shape, config: Config) -> estimate.Adapter | None:
        if not config.peft:
            return None
        adapter = adapter_of(self.context.model, shape, config)
        tables = 1 if shape.tied or config.trainer_spec.trains_a_scorer else 2
        rows = tables * len(trained_tokens(config, self.context.models))
        return replace(adapter, values=adapter.values + rows * shape.hidden, trains_rows=rows > 0)

    def _second(
        self, shape: estimate.Shape, config: Config, adapter: estimate.Adapter | None
    ) -> tuple[estimate.Shape | None, estimate.Adapter | None]:
        """The separate backbone of the value function, and its adapter if only that is trained."""
        if not config.applies("rl_value_model") or config[Ppo].rl_value_model not in (SEPARATE, OF_REWARD):
            return None, None
        values = value_model_of(config, self.context)
        own = metadata_shape(values) if values is not None else None
        return (shape, adapter) if own is None else (own, adapter_of(values, own, config) if adapter else None)

    @property
    def kernels_kept(self) -> int | None:
        """How many compiled kernels to keep on a processor in half precision; None on other devices and in fp32."""
        if self.shape is None or not self.half or self.machine.has_cuda:
            return None
        batch = self._batch(self.config, False)
        return self._kernels(self.config, batch.tokens, self._no_grad_tokens(self.config, batch, False))

    def _kernels(self, config: Config, tokens: int, no_grad_tokens: int) -> int:
        """Kernels to keep for the largest batches with and without gradients."""
        return estimate.kernels_kept(max(tokens, no_grad_tokens), self._longest(config))

    def _accumulated(self, config: Config) -> int:
        if config.trainer_spec.samples:
            return decide_phases(config, self.schedule.rows, self.processes).batches
        return accumulated_batches(config, self.context)

    def _other_models(
        self, shape: estimate.Shape, config: Config, adapter: estimate.Adapter | None, weight: float
    ) -> tuple[dict[str, int], int]:
        """Bytes of models that stay in memory during training, by name; and bytes of a teacher that is only run before it."""
        context, resident, precompute_bytes = self.context, {}, 0
        if config.applies("model_ref"):
            decided = decide_reference(config, context, self.schedule.epochs, short_of_memory=self.short_for_reference)
            if decided.kind == ANOTHER_MODEL:
                own = metadata_shape(context.reference) if context.reference else None
                resident["reference"] = estimate.frozen_bytes(own or shape, weight, half=self.half)
            elif decided.when != BEFOREHAND:
                resident["reference"] = _copied(shape, decided.kind, adapter, weight, half=self.half)
        anchor = decide_anchor(config, context) if config.trainer_spec.samples else None
        if anchor is not None:
            resident["reference"] = _copied(shape, anchor.kind, adapter, weight, half=self.half)
        teacher = teacher_weights(config, context, half=self.half)
        if teacher and config.distill_cache:
            precompute_bytes = teacher
        elif teacher:
            resident["teacher"] = teacher
        rewards = [context.models.secondary("rl_reward_model_path", source) for source in reward_models(config)]
        if rewards:
            each = 2 if self.computes_in == "bf16" else 4
            resident["reward models"] = sum(
                each * (metadata.parameters or 0) for metadata in rewards if metadata is not None
            )
        if config.trainer_spec.samples and config.rl_generation == "vllm":
            resident["vLLM"] = int(VLLM_SHARE * self.machine.device_memory)
        return {name: size for name, size in resident.items() if size}, precompute_bytes

    def _teachers_width(self, config: Config) -> int | None:
        """The width of the teacher's hidden states if its logits are computed in the student's pass; else None."""
        if not self.context.distills or config.distill_alpha == 0 or config.distill_cache:
            return None
        metadata = self.context.teacher
        return (metadata.hidden_size if metadata else None) or (self.shape.hidden if self.shape else None)

    def _no_grad_tokens(self, config: Config, batch: Batch, full: bool) -> int:
        """Tokens of the largest batch that is computed without gradients: by a reference, reward model or teacher, or in evaluation."""
        context, prepared = self.context, self.context.prepared
        assert prepared is not None
        tokens = [0]
        total = int(prepared.statistics["total_tokens"])
        if config.applies("model_ref"):
            decided = decide_reference(config, context, self.schedule.epochs, short_of_memory=self.short_for_reference)
            online = 2 * batch.tokens if config.applies("kto_beta") else batch.tokens  # kto: mismatched answers too
            tokens.append(min(NO_GRAD_TOKENS, total) if decided.when == BEFOREHAND else online)
        if config.trainer_spec.samples:
            phase = decide_phases(config, self.schedule.rows, self.processes)
            answers = phase.prompts_of_phase * phase.answers_each * self._longest(config)
            most = SCORED_TOKENS if reward_models(config) else NO_GRAD_TOKENS
            tokens.append(min(most, answers))
        if context.distills and config.distill_alpha > 0:
            tokens.append(min(NO_GRAD_TOKENS, total) if config.distill_cache else batch.tokens)
        if self.schedule.evaluate != "no" and len(prepared.valid):
            size = config.eval_batch_size or config.batch_size
            for order in evaluation_orders(context):
                tokens.append(
                    self._largest(config, prepared.valid, order, size, 1, full).part(config.context_parallel).tokens
                )
        return max(tokens)

    def _answers_at_once(self, config: Config) -> int:
        """How many answers are sampled at once by the model itself; 0 with vLLM."""
        if not config.trainer_spec.samples or config.rl_generation == "vllm":
            return 0
        phase = decide_phases(config, self.schedule.rows, self.processes)
        answers = math.ceil(phase.prompts_of_phase * phase.answers_each / self.processes)
        return min(answers, sequences_at_once(config, self.context))

    def _kv_bytes_of_token(self, shape: estimate.Shape) -> int:
        """Bytes of one token in the KV cache."""
        return 2 * shape.layers * shape.keys * (2 if self.half else 4)

    # --- the largest batch ------------------------------------------------------------------------------------------

    def _longest(self, config: Config) -> int:
        assert self.context.prepared is not None
        answer = config.rl_max_new_tokens if config.trainer_spec.samples else 0
        longest: int = self.context.prepared.statistics["tokens"]["max"]
        return min(longest, self._limit(config)) + answer

    def _limit(self, config: Config) -> int:
        changed = config.value_of(self.context.limit.parameter) if config is not self.config else None
        return int(changed) if changed and changed > 0 else self.context.limit.tokens

    def _budget(self, config: Config) -> int:
        """The tokens of `--batch-tokens`; 0 without."""
        return config[Sft].batch_tokens or 0 if config.applies("batch_tokens") else 0

    def _batch(self, config: Config, full: bool) -> Batch:
        spec, prepared = config.trainer_spec, self.context.prepared
        assert prepared is not None
        if spec.samples:
            phase = decide_phases(config, self.schedule.rows, self.processes)
            row = self._longest(config)
            tokens = int(phase.batch_size) * row
            return Batch(tokens, row, row, tokens)
        accumulated = accumulated_batches(config, self.context)
        key = (config.batch_size, self._limit(config), full, accumulated, self._budget(config))
        if key not in self._batches:
            order = epoch_order(self.context, packing=False)
            self._batches[key] = self._largest(config, prepared.train, order, config.batch_size, accumulated, full)
        return self._batches[key].part(config.context_parallel)

    def _largest(self, config: Config, rows: Any, order: EpochOrder, size: int, accumulated: int, full: bool) -> Batch:
        """The batch with the most tokens among those that the run makes of these rows."""
        limit, each = self._limit(config), 1 if self._is_single(rows) else 2
        if full or len(rows) == 0 or self.layout.packing:
            tokens = size * each * max(limit, self._budget(config))
            return Batch(tokens, limit, limit, tokens)
        evaluates = isinstance(order, DataOrder)
        left = self.schedule.steps * accumulated * size * self.schedule.batches_at_once
        epochs = 1 if evaluates else math.ceil(self.schedule.epochs)
        batches: list[Batch] = []
        for epoch in range(max(1, min(epochs, MAX_EPOCHS, MAX_ITEMS // len(order)))):
            lengths, prompts = self._ordered(rows, order, epoch)
            count = len(lengths) if evaluates else min(left, len(lengths))
            clipped = lengths[:count].clip(max=limit), prompts[:count].clip(max=limit)
            batches.append(_largest_of(*clipped, size, self.layout.name == "padded"))
            left -= count
            if left <= 0:
                break
        return max(batches, key=lambda batch: batch.tokens)

    def _is_single(self, rows: Any) -> bool:
        """Whether an item of a batch is a single row and not two answers to a prompt."""
        return rows.lengths.ndim == 1 or self.config.trainer_spec.parts_pairs

    def _ordered(self, rows: Any, order: EpochOrder, epoch: int) -> tuple[Any, Any]:
        """Token counts in the order of an epoch: of each item's rows (items, rows), and of the prompt that they share (items,)."""
        key = (order, epoch)
        if key not in self._orders:
            import numpy

            lengths = rows.lengths
            single = self._is_single(rows)
            lengths = lengths.reshape(-1, 1) if single else lengths
            prompts = numpy.zeros(len(lengths), dtype=numpy.int64) if single else rows.prompt.lengths
            indices = order.of_epoch(epoch)
            self._orders[key] = lengths[indices], prompts[indices]
        return self._orders[key]

    # --- other flags ----- -------------------------------------------------------------------------------------------

    def alternatives(self, checkpointing: bool | str) -> tuple[AlternativePlan, ...]:
        """The flags that lower the peak by at least MIN_GAIN, each by itself."""
        if self.shape is None:
            return ()
        now = self.bytes(checkpointing=checkpointing)
        own = now - estimate.LIBRARIES["cuda" if self.machine.has_cuda else "cpu"]
        alternatives = []
        for changes in self._helpful(checkpointing):
            then = self.bytes(changes, checkpointing=checkpointing)
            if then < now - MIN_GAIN * own:
                alternatives.append(AlternativePlan(in_words(changes), changes, then))
        return tuple(alternatives)

    def _helpful(self, checkpointing: bool | str) -> Iterator[dict[str, Any]]:
        config = self.config
        if checkpointing not in (True, FULL_CHECKPOINTS, OFFLOAD):
            yield {"gradient_checkpointing": True}
        if config.batch_size > 1:
            yield self._halved(config.batch_size // 2)
        if self._budget(config) // 2 > self._limit(config):
            yield {"batch_tokens": self._budget(config) // 2}
        yield from self._shorter(self._longest(config) // 2)
        yield from self._less_resident()
        if self._can_be_divided():
            yield {"shard": FULL}
        yield from self._smaller_weights()

    def _halved(self, size: int) -> dict[str, Any]:
        """A smaller batch with as much more accumulation, so that a step trains on the same rows."""
        config = self.config
        if config.trainer_spec.samples or config.global_batch:
            return {"batch_size": size}
        times = config.batch_size * config.gradient_accumulation / size
        return {"batch_size": size, "gradient_accumulation": math.ceil(times)}

    def _shorter(self, tokens: int) -> Iterator[dict[str, Any]]:
        if tokens >= SHORTEST:
            yield {self.context.limit.parameter: tokens}
        if self.config.trainer_spec.samples and self.config.rl_max_new_tokens > SHORTEST:
            yield {"rl_max_new_tokens": self.config.rl_max_new_tokens // 2}

    def _less_resident(self) -> Iterator[dict[str, Any]]:
        config = self.config
        if config.applies("rl_value_model") and config[Ppo].rl_value_model in (SEPARATE, OF_REWARD):
            yield {"rl_value_model": SHARED if config[Ppo].rl_value_model == SEPARATE else CORRECTED}
        if self._teachers_width(config) is not None and config.engine == "native":
            yield {"distill_cache": True}

    def _smaller_weights(self) -> Iterator[dict[str, Any]]:
        config = self.config
        if self.shards == 1 and not config.peft and OPTIMIZERS[config.optimizer].states:
            yield {"optimizer": "adafactor"}
        if self.context.is_scratch or not config.applies("peft"):
            return
        if not config.peft:
            yield {"peft": True}
        elif config.lora_r > RANKS[1]:
            yield {"lora_r": RANKS[1]}
        if config.peft and not config.quantization and self.machine.has_cuda:
            yield {"quantization": "int4"}

    def smallest_fitting_change(self, checkpointing: bool | str) -> dict[str, Any] | None:
        """The fewest changes with which the run fits, in the order of how little they change the training; None if none is enough."""
        if self.shape is None:
            return None
        chosen: dict[str, Any] = {}
        for changes in self._steps_down(checkpointing):
            chosen |= changes
            if self._fits(chosen, checkpointing):
                break
        else:
            return self._fewer_processes(checkpointing)
        for names in (
            ("rl_value_model",),
            ("distill_cache",),
            ("shard",),
            ("batch_size", "gradient_accumulation"),
            ("optimizer",),
            ("peft", "quantization"),
        ):
            fewer = {name: value for name, value in chosen.items() if name not in names}
            if len(fewer) < len(chosen) and self._fits(fewer, checkpointing):
                chosen = fewer
        return {name: value for name, value in chosen.items() if value != self.config.value_of(name)}

    def _fewer_processes(self, checkpointing: bool | str) -> dict[str, Any] | None:
        """As many processes as a processor has memory and cores for, if fewer than are to be started; None if not even one fits."""
        if self.sharing == 1 or not self.machine.starts_processes:
            return None
        count = min(self.machine.device_memory // self.bytes(checkpointing=checkpointing), self.machine.cores)
        return {"num_processes": count} if 1 <= count < self.sharing else None

    def _fits(self, changes: Mapping[str, Any], checkpointing: bool | str) -> bool:
        return self.bytes(changes, checkpointing=checkpointing) <= self.available

    def _steps_down(self, checkpointing: bool | str) -> Iterator[dict[str, Any]]:
        """Changes to apply one after the other, each lowering the peak further."""
        config = self.config
        if checkpointing not in (True, FULL_CHECKPOINTS, OFFLOAD):
            yield {"gradient_checkpointing": True}
        yield from self._less_resident()
        if self._can_be_divided():
            yield {"shard": FULL}
        size = config.batch_size // 2
        while size:
            yield self._halved(size)
            size //= 2
        budget = self._budget(config) // 2
        while budget > self._limit(config):
            yield {"batch_tokens": budget}
            budget //= 2
        is_whole = self.shards == 1 and not self._can_be_divided()  # its states are not combined with parts
        if is_whole and not config.peft and OPTIMIZERS[config.optimizer].states:
            yield {"optimizer": "adafactor"}
        if not self.context.is_scratch and config.applies("peft"):
            if not config.peft:
                yield {"peft": True, "optimizer": config.optimizer}
            if not config.quantization and self.machine.has_cuda:
                yield {"quantization": "int4"}
        tokens = self._longest(config) // 2
        while tokens >= SHORTEST:
            yield {self.context.limit.parameter: tokens}
            tokens //= 2

    def _can_be_divided(self) -> bool:
        """Whether the processes could divide a model that each of them holds a copy of."""
        whole = self.shards == 1 and self.processes > 1 and self.machine.has_cuda
        return whole and not any(obstacles(self.config))

    def largest(self, checkpointing: bool | str) -> dict[str, int | None]:
        """The largest batch size, length and adapter rank that fit, each by itself; None if not even the smallest fits."""
        if self.shape is None:
            return {}
        name = self.context.limit.parameter
        size = "batch_tokens" if self._budget(self.config) else "batch_size"
        largest = {size: self._most(size, checkpointing), name: self._most(name, checkpointing)}
        if self.config.peft:
            fitting = [rank for rank in RANKS if self._fits({"lora_r": rank}, checkpointing)]
            largest["lora_r"] = max(fitting, default=None)
        return largest

    def _most(self, name: str, checkpointing: bool | str) -> int | None:
        """The largest value that fits, by bisection: memory grows with the value. For a length, all rows are assumed to be that long."""
        full = name != "batch_size"

        def fits(value: int) -> bool:
            return self.bytes({name: value}, checkpointing=checkpointing, full=full) <= self.available

        low, high = 1, 2
        if not fits(low):
            return None
        context_length = self.context.context_length if full and name != "batch_tokens" else None
        most = min(LARGEST, context_length or LARGEST) if full else max(1, self.schedule.rows)
        while high < most and fits(high):
            low, high = high, high * 2
        high = min(high, most + 1)
        while high - low > max(1, low // 64):
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def _copied(shape: estimate.Shape, kind: str, adapter: estimate.Adapter | None, weight: float, *, half: bool) -> int:
    """Bytes of the reference model, or of the copy of the initial adapter that stands for it."""
    if kind == COPY:
        return estimate.frozen_bytes(shape, weight, half=half)
    return 4 * adapter.values if kind == ADAPTER_AS_IT_WAS and adapter else 0


def _largest_of(lengths: Any, prompts: Any, size: int, padded: bool) -> Batch:
    """The batch with the most tokens when items in this order are batched by `size`."""
    import numpy

    tokens: list[Any] = []
    rows: list[Any] = []
    spans: list[Any] = []
    in_full_batches = len(lengths) // size * size
    full = slice(0, in_full_batches), size
    last = slice(in_full_batches, len(lengths)), len(lengths) - in_full_batches
    for items, batch_size in (full, last):
        if not batch_size or items.start == items.stop:
            continue
        batches = lengths[items].reshape(-1, batch_size, lengths.shape[1])
        longest = batches.max(axis=(1, 2))
        computed = longest * batch_size * lengths.shape[1]
        if not padded:
            computed = batches.sum(axis=(1, 2))
            # A prompt with two answers is computed once if that saves enough tokens.
            repeated = prompts[items].reshape(-1, batch_size).sum(axis=1)
            computed = computed - numpy.where(repeated > SHARED_FROM * computed, repeated, 0)
        tokens.append(computed)
        rows.append(longest)
        spans.append((batches.astype(float) ** 2).sum(axis=(1, 2)) / numpy.maximum(1, batches.sum(axis=(1, 2))))
    of_batches = numpy.concatenate(tokens)
    most = int(of_batches.argmax())
    row, span = (numpy.concatenate(values)[most] for values in (rows, spans))
    return Batch(int(of_batches[most]), int(row), float(span), float(of_batches.mean()))


# --- the model ----------------------------------------------------------------------------------------------------------


def model_shape(context: RunContext) -> estimate.Shape | None:
    """The sizes of the model that the memory depends on; None if its files don't have them."""
    shape = context.shape or {}
    if not shape:
        return metadata_shape(context.model) if context.model else None
    if context.parameters is None:
        return None
    hidden, heads = shape["hidden_size"], shape["num_attention_heads"]
    return estimate.Shape(
        context.parameters,
        hidden,
        shape["intermediate_size"],
        shape["num_hidden_layers"],
        shape["vocab_size"],
        hidden,
        shape["num_key_value_heads"] * (hidden // heads),
        heads,
        True,
        shape["tie_word_embeddings"],
    )


def metadata_shape(metadata: ModelMetadata) -> estimate.Shape | None:
    """The sizes in a model's files; of a mixture of experts, only the experts that a token is routed to."""
    hidden, layers, vocab_size = metadata.hidden_size, metadata.layers, metadata.vocab_size
    if not hidden or not layers or not vocab_size or metadata.parameters is None:
        return None
    experts = metadata.number("num_experts_per_tok") or 1
    inner = experts * (metadata.number("moe_intermediate_size") or metadata.intermediate_size or 4 * hidden)
    heads = metadata.heads or 1
    size = metadata.number("head_dim") or hidden // heads
    keys = (metadata.number("num_key_value_heads") or heads) * size
    gated = metadata.setting("hidden_act", "hidden_activation") in ("silu", "gelu_pytorch_tanh", "swish")
    return estimate.Shape(
        metadata.parameters, hidden, inner, layers, vocab_size, heads * size, keys, heads, gated, metadata.is_tied
    )


def adapter_of(metadata: ModelMetadata | None, shape: estimate.Shape, config: Config) -> estimate.Adapter:
    """The adapter of these flags: on the model's own tensors if their shapes are known, else on those of a Llama of its size."""
    targets = tuple(config.target_modules)
    everything = "all-linear" in targets
    sides: list[tuple[int, int]] = []
    if metadata is not None and metadata.tensors:
        for module in metadata.linear_modules:
            named = everything or any(matches(name, module) for name in targets)
            tensor = metadata.tensors.get(f"{module}.weight")
            if named and tensor is not None and len(tensor) == 2:
                sides.append((tensor[1], tensor[0]))
    if not sides:
        hidden, inner = shape.hidden, shape.intermediate
        by_name = {
            "q_proj": (hidden, shape.queries),
            "k_proj": (hidden, shape.keys),
            "v_proj": (hidden, shape.keys),
            "o_proj": (shape.queries, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
        sides = [side for name, side in by_name.items() if everything or name in targets] * shape.layers
        sides = sides or list(by_name.values()) * shape.layers
    rank, layers = config.lora_r, max(shape.layers, 1)
    return estimate.Adapter(
        values=sum(rank * (into + out) for into, out in sides),
        width=sum(into for into, _ in sides) // layers,
        matrices=math.ceil(len(sides) / layers),
        rank=rank,
        dropout=config.lora_dropout > 0,
    )
