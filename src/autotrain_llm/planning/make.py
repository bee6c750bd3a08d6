"""Make a plan from a Config: everything that a run will do is decided here, before a weight is loaded.

Reads the configuration and the context, writes nothing and imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from typing import Any

from autotrain_llm.config.metric_choice import best_metric, chooses_checkpoints
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.resumed_run import resumed_run
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.tokenize.prompt_format import TEXT
from autotrain_llm.declare.metric import MAXIMIZE
from autotrain_llm.declare.param import NO_INFLUENCE
from autotrain_llm.declare.text import as_list, plural
from autotrain_llm.models.architectures import keeps_rows_apart
from autotrain_llm.models.classifiers import classifier_of
from autotrain_llm.models.experts import adapts_experts
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.params.optimizers import OPTIMIZERS
from autotrain_llm.params.precision import OFFLOAD, SELECTIVE
from autotrain_llm.planning.compiling import decide_compiling
from autotrain_llm.planning.distillation import decide_distillation
from autotrain_llm.planning.evaluation import decide_evaluation, evaluated_rows
from autotrain_llm.planning.fusing import decide_fusing
from autotrain_llm.planning.kinds import CLASSES, KEPT_HEAD, NEW_HEAD, REGRESSION
from autotrain_llm.planning.memory_budget import Memory
from autotrain_llm.planning.optimizers import decide_optimizer, learning_rates
from autotrain_llm.planning.order import epoch_order, pack_tokens
from autotrain_llm.planning.plan import (
    AdapterPlan,
    DataPlan,
    DevicePlan,
    HubPlan,
    LabelledAnswers,
    LaunchPlan,
    LayoutPlan,
    LengthPlan,
    MemoryPlan,
    ModelPlan,
    ObjectivePlan,
    OutputPlan,
    PairedAnswers,
    ParameterChange,
    ParameterValue,
    Plan,
    PrecisionPlan,
    ReferencePlan,
    ResumePlan,
    SchedulePlan,
    ShardingPlan,
    StreamPlan,
    TokenLengths,
    TrainerArguments,
)
from autotrain_llm.planning.reference_model import decide_reference
from autotrain_llm.planning.rollout_batches import decide_anchor, decide_phases, decide_rollouts
from autotrain_llm.planning.schedule import accumulated_batches, asked_evaluation, asked_saving, batches_at_once
from autotrain_llm.planning.sharding import decide_sharding
from autotrain_llm.planning.sources import plan_sources
from autotrain_llm.planning.sweep import decide_sweep
from autotrain_llm.planning.trackers import decide_trackers
from autotrain_llm.planning.trained_tokens import trained_tokens
from autotrain_llm.planning.value_function import value_model_of
from autotrain_llm.trainers.reward import Reward
from autotrain_llm.trainers.sft import Sft

LOG_LINES = 100
EVALUATIONS_BY_STEPS = 10
SECRET = "(not shown)"


def make_plan(config: Config, context: RunContext, ignored: tuple[str, ...] = ()) -> Plan:
    """The plan of a run. `context.prepared` holds at least one row."""
    layout = _layout(config, context)
    schedule = _schedule(config, context, row_count(context, packing=layout.packing))
    memory = Memory(config, context, layout, schedule)
    sharding = decide_sharding(config, memory, trains_tokens=bool(trained_tokens(config, context.models)))
    memory = memory.assuming(shards=sharding.shards if sharding else 1)
    precision = _precision(config, context, memory)
    if config.applies("model_ref"):
        # A reference model that does not fit into memory during training is run before it.
        memory = memory.assuming(short_for_reference=memory.is_short(checkpointing=precision.checkpoints))
    rollouts = decide_rollouts(config, context, schedule)
    adapter = _adapter(config, context)
    return Plan(
        trainer=config.trainer,
        parameters=_parameters(config),
        ignored=ignored,
        model=_model(config, context, adapter),
        data=_data(config, context),
        objective=_objective(config, context, _reference(config, context, schedule, memory)),
        length=LengthPlan(context.limit.tokens, context.limit.parameter, context.limit.why),
        layout=layout,
        precision=precision,
        arguments=_arguments(config, schedule, precision, sharding),
        schedule=schedule,
        output=_output(config, context),
        steps=schedule.steps,
        memory=_memory(memory, precision.checkpoints, config.target_memory),
        adapter=adapter,
        hub=_hub(config),
        distillation=decide_distillation(config, context),
        sweep=decide_sweep(config, context),
        evaluation=decide_evaluation(config, context),
        rollouts=rollouts,
        engine=config.engine,
        seed=config.seed,
        resume=_resume(config, context),
        sharding=sharding,
        optimizer=decide_optimizer(config),
        launch=_launch(config, context),
        compiled=decide_compiling(config, context, layout, precision),
        fusing=decide_fusing(
            config, layout, dora=bool(adapter and adapter.dora), cpu=precision.cpu, computes_in=precision.name
        ),
    )


def row_count(context: RunContext, *, packing: bool) -> int:
    """The number of training rows of an epoch as batches count them: after packing, if rows are packed."""
    return len(epoch_order(context, packing=packing))


def _parameters(config: Config) -> dict[str, ParameterValue]:
    """Every parameter that the trainer reads, with its source. Commands are left out, secrets are masked."""
    return {
        param.name: ParameterValue(
            SECRET if param.secret and config.value_of(param.name) else as_list(config.value_of(param.name)),
            config.source(param.name),
            **config.origin(param.name).as_dict(),
        )
        for param in PARAMS.values()
        if config.applies(param.name) and not param.command
    }


def _model(config: Config, context: RunContext, adapter: AdapterPlan | None) -> ModelPlan:
    metadata, located = context.model, context.model.located if context.model else None
    base = metadata.model_located if metadata else None
    model_type, architecture = metadata.model_type if metadata else None, None
    if context.is_scratch:
        model_type, architecture = "llama", "LlamaForCausalLM"
    elif metadata:
        architecture = next(iter(metadata.architectures), model_type)
    head = _score_head(config, context)
    return ModelPlan(
        name=config.model,
        kind=located.kind if located else "scratch",
        folder=str(located.path) if located and located.path else None,
        base=base.name if base and base is not located else None,
        architecture=architecture if head is None else classifier_of(model_type),
        model_type=model_type,
        head=head,
        scores=config[Reward].num_labels if head else None,
        parameters=context.parameters,
        shape=context.shape,
        tokenizer=config.tokenizer or ("trained on the data" if context.is_scratch else config.model),
        revision=config.revision,
        cache_dir=config.cache_dir,
        offline=config.offline,
        trust_remote_code=config.trust_remote_code,
        quantization=config.quantization,
        attention=config.attn_implementation,
        **_outputs(config, context),
        saved_dtype=_saved_dtype(metadata, adapter),
    )


def _saved_dtype(metadata: ModelMetadata | None, adapter: AdapterPlan | None) -> str | None:
    """The 16 bits that the weights of a whole model are written in, after they were trained in float32; None for an adapter and for float32."""
    is_whole = adapter is None or adapter.merge
    return (
        {"bfloat16": "bf16", "float16": "fp16"}.get(metadata.dtype or "") if metadata is not None and is_whole else None
    )


def _outputs(config: Config, context: RunContext) -> dict[str, Any]:
    """The names of a reward model's outputs and what they are, where it has several."""
    if config.trainer_spec.rows != "graded" or context.dataset is None:
        return {}
    problem_type = CLASSES if "class" in context.dataset.columns else REGRESSION
    return {"labels": context.dataset.labels, "problem_type": problem_type}


def _score_head(config: Config, context: RunContext) -> str | None:
    """Whether the score head is new or kept from the model's files; None for a model that generates."""
    if not config.trainer_spec.trains_a_scorer:
        return None
    metadata = context.model
    if metadata is None or context.is_scratch or not metadata.is_classifier:
        return NEW_HEAD
    if config.trainer_spec.rows == "graded":
        labels = context.dataset.labels if context.dataset else ()
        return KEPT_HEAD if metadata.score_names == labels else NEW_HEAD
    return KEPT_HEAD if metadata.is_adapter or metadata.num_labels == 1 else NEW_HEAD


def _data(config: Config, context: RunContext) -> DataPlan:
    dataset, prepared = context.dataset, context.prepared
    assert dataset is not None and prepared is not None
    statistics = prepared.statistics
    answers = statistics["answers"]
    return DataPlan(
        path=config.rows_from or "",
        format=dataset.format,
        columns=dict(dataset.columns),
        unused_columns=dict(dataset.unused),
        recognised=dataset.describe(),
        split=config.train_split,
        evaluation=context.data.mixture.validation
        if context.data.mixture
        else config.eval_dataset_path or config.valid_split,
        samples=config.max_samples,
        fingerprint=prepared.fingerprint,
        rows=statistics["rows"],
        eval_rows=statistics["eval_rows"],
        evaluated_rows=evaluated_rows(config, context),
        prepared=_prepared(config, context),
        tokens=TokenLengths(**statistics["tokens"]),
        total_tokens=statistics["total_tokens"],
        truncated_rows=statistics["truncated_rows"],
        dropped_rows=statistics["dropped_rows"],
        rows_without_earlier_thoughts=statistics["rows_without_earlier_thoughts"],
        trained_token_share=statistics["trained_token_share"],
        answers=answers and (LabelledAnswers if "good" in answers else PairedAnswers)(**answers),
        not_checked=_not_checked(config, context),
        sources=plan_sources(prepared.mixture) if prepared.mixture else None,
        turns=dataset.turns,
        streaming=StreamPlan(config.stream_buffer, len(dataset.train)) if config.streams else None,
        held_out=dataset.held_out,
        unused_template=_leaves_template(config, context) or None,
    )


def _leaves_template(config: Config, context: RunContext) -> bool:
    """Whether rows of prompts and answers are written as plain text, though the tokenizer has a chat template and nobody said that it is not to be used."""
    prepared, tokenizer = context.prepared, context.tokenizer
    if config.trainer_spec.rows == "documents" or config.chat_template or prepared is None or tokenizer is None:
        return False
    return prepared.prompt_format.rows == TEXT and tokenizer.chat_template is not None


def _prepared(config: Config, context: RunContext) -> str | None:
    """How a prepared folder is used; None if the rows are something else."""
    how = "compared with its source" if config.use_prepared else "read as it is"
    return how if context.data.prepared_folder is not None else None


def _not_checked(config: Config, context: RunContext) -> tuple[str, ...]:
    """What preflight did not check about the rows, in words."""
    most = config.check_rows or 0
    unread = (
        [f"only {plural(most, 'row')} per split were read, and steps are counted for these"]
        if context.data.is_partial
        else []
    )
    if config.streams and context.dataset is not None:
        unread.append(f"rows after the first {len(context.dataset.train)}: they are checked when they are read")
    return (*unread, *context.row_checks.not_checked)


def _objective(config: Config, context: RunContext, reference: ReferencePlan | None) -> ObjectivePlan:
    spec = config.trainer_spec
    settings = {name: getattr(config, name) for name in spec.settings}
    return ObjectivePlan(config.trainer, spec.recipe, spec.trl_adapter, settings, reference)


def _reference(config: Config, context: RunContext, schedule: SchedulePlan, memory: Memory) -> ReferencePlan | None:
    """The reference model of a preference loss or of a KL penalty; None if there is none."""
    if config.applies("model_ref"):
        return decide_reference(config, context, schedule.epochs, short_of_memory=memory.short_for_reference)
    return decide_anchor(config, context) if config.trainer_spec.samples else None


def _layout(config: Config, context: RunContext) -> LayoutPlan:
    """Flat (rows concatenated without padding) if every model of the run is known to keep concatenated rows apart, else padded."""
    packing = bool(config.applies("packing") and config[Sft].packing)
    metadata = (
        {"model_type": "llama"} if context.is_scratch else (context.model.config if context.model else None) or {}
    )
    apart, reason = keeps_rows_apart(metadata)
    if apart and config.applies("model_ref") and context.reference is not None:
        apart, reason = keeps_rows_apart(context.reference.config or {})
    if apart and context.teacher is not None and config.distill_alpha > 0:
        apart, reason = keeps_rows_apart(context.teacher.config or {})
    values = value_model_of(config, context)
    if apart and values is not None:
        apart, reason = keeps_rows_apart(values.config or {})
    if context.model and not context.is_scratch and context.model.is_encoder:
        reason = f"{context.model.model_type} is an encoder: its attention is bidirectional"
    if not apart:
        return LayoutPlan("padded", reason, packing=False)
    if config.engine == "trl" and not packing:
        return LayoutPlan("padded", "TRL's trainer pads", packing=False)
    name = "packed" if packing else "flat"
    longest = pack_tokens(context) if packing else None
    return LayoutPlan(name, "rows are concatenated without padding", packing, longest)


def _precision(config: Config, context: RunContext, memory: Memory) -> PrecisionPlan:
    """The given precision and checkpointing; else bf16 if the device computes in it, and checkpointing if memory is too short without it."""
    machine = context.machine
    device = f"GPU {machine.gpus[0].name}" if machine.has_cuda else "processor"
    if config.mixed_precision:
        name, why = config.mixed_precision, config.source("mixed_precision")
    elif machine.computes_bf16:
        name, why = "bf16", f"the {device} computes in it"
    else:
        name, why = "fp32", f"the {device} does not compute in bf16"
    if machine.has_unused_gpu:
        why += "; trained on the processor: Apple's GPU (mps) is not used"
    if config.gradient_checkpointing is not None:
        checkpointing, reason = bool(config.gradient_checkpointing), config.source("gradient_checkpointing")
    elif memory.is_short(checkpointing=False):
        checkpointing, reason = True, "activations would not fit into memory"
    else:
        checkpointing, reason = False, "activations fit into memory"
    kind = config.gradient_checkpointing if config.gradient_checkpointing in (SELECTIVE, OFFLOAD) else None
    return PrecisionPlan(name, why, not machine.has_cuda, checkpointing, reason, str(kind) if kind else None)


def _schedule(config: Config, context: RunContext, rows: int) -> SchedulePlan:
    """Steps, and when to log, evaluate and save."""
    processes = context.machine.processes
    if config.trainer_spec.samples:
        phases = decide_phases(config, rows, processes)
        batch_size, accumulated, steps_of_epoch = phases.batch_size, phases.batches, phases.steps_of_epoch
    else:
        batch_size, accumulated = config.batch_size, accumulated_batches(config, context)
        batches = math.ceil(math.ceil(rows / batches_at_once(config, context)) / batch_size)
        steps_of_epoch = max(1, math.ceil(batches / accumulated))
    if config.max_steps and config.max_steps > 0:
        steps = config.max_steps
    else:
        assert config.epochs is not None  # refused where there are no --max-steps either
        steps = max(1, math.ceil(steps_of_epoch * config.epochs))
    by_epoch = "epoch"
    if config.streams:  # the whole run is one epoch
        steps_of_epoch, by_epoch = steps, "steps"
    has_rows = bool(context.prepared and context.prepared.valid is not None and len(context.prepared.valid))
    evaluate = asked_evaluation(config) or (by_epoch if has_rows else "no")
    eval_steps = config.eval_steps or max(1, steps // EVALUATIONS_BY_STEPS)
    save = asked_saving(config) or (evaluate if evaluate != "no" else by_epoch)
    save_steps = config.save_steps or (eval_steps if evaluate == "steps" else 500)
    log = config.logging_steps if config.logging_steps and config.logging_steps > 0 else max(1, steps // LOG_LINES)
    return SchedulePlan(
        rows=rows,
        processes=processes,
        batch_size=batch_size,
        accumulated=accumulated,
        steps_of_epoch=steps_of_epoch,
        steps=steps,
        epochs=steps / steps_of_epoch,
        evaluate=evaluate,
        eval_steps=eval_steps,
        save=save,
        save_steps=save_steps,
        log_steps=log,
        patience=config.early_stopping_patience,
        trackers=decide_trackers(config, context.machine.environment),
        context_parallel=config.context_parallel if config.context_parallel > 1 else None,
        tokens_of_batch=_tokens_of_batch(config, context, rows),
    )


def _tokens_of_batch(config: Config, context: RunContext, packs: int) -> float | None:
    """The tokens of a batch with `--batch-tokens`: the mean over all packs; of a mixture, whose epochs leave packs out, it is not counted."""
    prepared = context.prepared
    if not config.applies("batch_tokens") or not config[Sft].batch_tokens or prepared is None or prepared.mixture:
        return None
    return round(float(prepared.statistics["total_tokens"]) / max(1, packs), 1)


def _arguments(
    config: Config, schedule: SchedulePlan, precision: PrecisionPlan, sharding: ShardingPlan | None
) -> TrainerArguments:
    is_sharded = sharding is not None and sharding.shards > 1
    offload = {"cpu_offload": True} if sharding and sharding.offload else {}
    steps = schedule.steps
    chooses_best = chooses_checkpoints(config)
    metric, direction = best_metric(config) if chooses_best else (None, None)
    rates = learning_rates(config, steps)
    return TrainerArguments(
        learning_rate=config.lr,
        num_train_epochs=schedule.epochs,
        max_steps=steps,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=config.eval_batch_size or config.batch_size,
        gradient_accumulation_steps=schedule.accumulated,
        optim=OPTIMIZERS[config.optimizer].transformers,
        lr_scheduler_type=rates.name,
        warmup_steps=rates.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        bf16=precision.name == "bf16",
        fp16=precision.name == "fp16",
        use_cpu=precision.cpu,
        logging_steps=schedule.log_steps,
        eval_strategy=schedule.evaluate,
        eval_steps=schedule.eval_steps,
        save_strategy=schedule.save,
        save_steps=schedule.save_steps,
        save_total_limit=config.save_total_limit,
        load_best_model_at_end=chooses_best,
        lr_scheduler_kwargs=rates.options,
        metric_for_best_model=metric,
        greater_is_better=direction == MAXIMIZE if chooses_best else None,
        fsdp=True if is_sharded else None,
        fsdp_config={"version": 2, "auto_wrap_policy": "NO_WRAP", **offload} if is_sharded else None,
    )


def _adapter(config: Config, context: RunContext) -> AdapterPlan | None:
    if not config.peft:
        return None
    # An adapter for scores is saved for the base model's files, which don't contain an adapter that was merged before training: merge both.
    merged_beneath = context.model is not None and context.model.is_adapter and _score_head(config, context) == NEW_HEAD
    # An adapter that is trained further keeps the settings that it was made with.
    own = {} if merged_beneath or context.model is None else context.model.adapter_settings
    targets = own.get("target_modules", config.target_modules)
    dropout = own.get("lora_dropout", config.lora_dropout)
    if config.trainer_spec.samples:
        dropout = config.lora_dropout  # 0 by default: the ratio would not start at 1
    elif own and config.applies("model_ref") and not (config.given("lora_dropout") and config.lora_dropout):
        dropout = 0.0  # model and reference are the same at first, and the loss has to say so
    return AdapterPlan(
        r=own.get("lora_r", config.lora_r),
        alpha=own.get("lora_alpha", config.lora_alpha),
        dropout=0.0 if adapts_experts(context.model, config.target_modules) else dropout,
        dora=own.get("use_dora", config.use_dora),
        rslora=own.get("use_rslora", config.use_rslora),
        target_modules=(targets,) if isinstance(targets, str) else tuple(targets),
        merge=config.merge_adapter or merged_beneath,
        init=None if own else config.lora_init,
        plus_ratio=config.lora_plus_ratio,
        tokens=trained_tokens(config, context.models) or None,
    )


def _hub(config: Config) -> HubPlan | None:
    if not config.push_to_hub:
        return None
    return HubPlan(config.username, config.hub_private, "given" if config.token else "environment")


def _output(config: Config, context: RunContext) -> OutputPlan:
    output = context.output
    return OutputPlan(
        dir=config.output_dir or str(output.folder),
        overwrite=output.begins_again or (config.overwrite and not (output.begins and output.goes_on)),
        checkpoint=str(output.checkpoint) if output.checkpoint else None,
    )


def _resume(config: Config, context: RunContext) -> ResumePlan | None:
    """The step that a run resumes from, and the parameters that change there; None for a new run."""
    run = resumed_run(context.output)
    if run is None:
        return None
    changes = {
        change.param.name: ParameterChange(change.before, as_list(change.now))
        for change in run.changes(config)
        if change.param.on_resume != NO_INFLUENCE
    }
    before = run.planned("steps")
    return ResumePlan(run.step, before if isinstance(before, int) else None, changes)


def _launch(config: Config, context: RunContext) -> LaunchPlan | None:
    """The processes that train together; None for one that is not started again."""
    machine, cluster = context.machine, context.machine.cluster
    head, restarts = config.head_address or cluster.head, config.max_restarts
    if (machine.processes == 1 and not restarts) or config.use_sweep:
        return None
    each = machine.processes_per_node
    if cluster.is_group:
        each = cluster.local_world or cluster.world_size // machine.nodes
    return LaunchPlan(machine.nodes, each, head if machine.nodes > 1 else None, restarts)


def _memory(memory: Memory, checkpointing: bool | str, target: str | None) -> MemoryPlan:
    """The peak memory of the run, the device it is planned for, and the effect of other flags."""
    machine, peak = memory.machine, memory.peak(checkpointing=checkpointing)
    peak_bytes = peak.bytes if peak else 0
    change = memory.smallest_fitting_change(checkpointing) if peak_bytes > memory.available else None
    return MemoryPlan(
        peak_memory_bytes=peak_bytes,
        checkpoint_bytes=memory.checkpoint_bytes,
        moment=peak.moment if peak else None,
        memory={name: size for name, size in peak.parts.items() if size} if peak else {},
        kernels_kept=memory.kernels_kept,
        device=DevicePlan(
            kind="GPU" if machine.has_cuda else "processor",
            memory_bytes=memory.available,
            supposed=machine.supposed,
            as_named=machine.is_as_named,
            named=target,
            sharing=memory.sharing,
        ),
        alternatives=memory.alternatives(checkpointing),
        largest=memory.largest(checkpointing) if target else None,
        smallest_fitting_change=change,
        loading_bytes=memory.loading_bytes,
        offloaded_bytes=memory.offloaded_bytes(checkpointing),
        bytes_after_change=memory.bytes(change, checkpointing=checkpointing) if change else None,
    )
