"""Turn a Config into a Plan: everything that a run will do, decided and JSON-able, before a weight is loaded.

Pure: reads the configuration and what is known of the world, writes nothing and imports nothing heavy. What happens with a plan is `run/`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from autotrain_llm.config.metric_choice import best_metric, chooses_checkpoints
from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.tokenize.pack import pack
from autotrain_llm.declare.metric import MAXIMIZE
from autotrain_llm.declare.search import describe, read_search
from autotrain_llm.declare.text import plural, show_bytes, show_count
from autotrain_llm.models.architectures import keeps_rows_apart
from autotrain_llm.models.classifiers import classifier_of
from autotrain_llm.planning.distillation import decide_distillation, teacher_in_words
from autotrain_llm.planning.evaluation import decide_evaluation
from autotrain_llm.planning.memory_budget import SHARE, Memory, memory_in_words
from autotrain_llm.planning.reference_model import decide_reference
from autotrain_llm.planning.rollout_batches import decide_anchor, decide_learning, decide_phases
from autotrain_llm.planning.rollouts import decide_rollouts, rewards_in_words, values_in_words
from autotrain_llm.planning.schedule import asked_evaluation, asked_saving
from autotrain_llm.planning.sweep import decide_sweep
from autotrain_llm.planning.value_function import value_model_of
from autotrain_llm.trainers.reward import Reward
from autotrain_llm.trainers.sft import Sft

LOG_LINES = 100
EVALUATIONS_BY_STEPS = 10
OPTIMIZER_NAMES = {"adamw_torch": "adamw_torch_fused"}
SECRET = "(not shown)"
NEW_HEAD, KEPT_HEAD = "new", "kept"  # of a model that scores


@dataclass(frozen=True)
class Plan:
    """A whole run. `parameters` holds every value with its source; the other parts are what was decided from them."""

    trainer: str
    parameters: dict[str, dict[str, Any]]
    ignored: tuple[str, ...]
    model: dict[str, Any]
    data: dict[str, Any]
    objective: dict[str, Any]
    length: dict[str, Any]
    layout: dict[str, Any]
    precision: dict[str, Any]
    arguments: dict[str, Any]
    schedule: dict[str, Any]
    output: dict[str, Any]
    steps: int
    estimate: dict[str, Any]
    adapter: dict[str, Any] | None = None
    hub: dict[str, Any] | None = None
    distillation: dict[str, Any] | None = None
    sweep: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    rollouts: dict[str, Any] | None = None
    engine: str = "native"
    seed: int = 42

    def as_json(self) -> dict[str, Any]:
        """The plan as `--format json` and `run.json` hold it."""
        return asdict(self)

    def summary(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Titled rows of (name, value, where it comes from): what a person reads in ten seconds."""
        return [
            ("What", self._what()),
            ("Data", self._rows()),
            ("How", self._how()),
            *([("Sweep", self._trials())] if self.sweep else []),
            ("Cost and output", self._cost()),
        ]

    def _what(self) -> list[tuple[str, str, str]]:
        rows = [
            ("trainer", self.trainer, self._source("trainer")),
            (
                "model",
                f"{self.model['name']} ({self.model['architecture']}{self._with_head()}, {show_count(self.model['parameters'])} parameters)",
                self._source("model"),
            ),
        ]
        if self.adapter:
            rows.append(
                (
                    "adapter",
                    f"{adapter_name(self.adapter)} of rank {self.adapter['r']} on {', '.join(self.adapter['target_modules'])}",
                    self._source("peft"),
                )
            )
        reference = self.objective.get("reference")
        if reference:
            said = f"{reference['kind']}, {reference['model']}" if reference["model"] else reference["kind"]
            rows.append(("compared with", f"{said}: {reference['when']}", reference["why"]))
        if self.rollouts:
            rows.append(("scored by", rewards_in_words(self.rollouts), ""))
            if "rl_value_model" in self.rollouts:
                rows.append(
                    ("values from", values_in_words(self.rollouts, self.adapter), self._source("rl_value_model"))
                )
        if self.distillation:
            rows += teacher_in_words(self.distillation, show_count(self.distillation["parameters"]))
        return rows

    def _with_head(self) -> str:
        return {NEW_HEAD: " with a new score head", KEPT_HEAD: " with its score head"}.get(self.model["head"], "")

    def _rows(self) -> list[tuple[str, str, str]]:
        data = self.data
        tokens = data["tokens"]
        evaluation = f"{data['eval_rows']} for evaluation" if data["eval_rows"] else "none for evaluation"
        lost = [
            f"{data[key]} {word}"
            for key, word in (("truncated_rows", "cut short"), ("dropped_rows", "dropped"))
            if data[key]
        ]
        return [
            ("data", f"{data['path']} ({data['format']})", self._source("data_path")),
            ("rows", ", ".join([f"{data['rows']} to train on", evaluation, *lost]), ""),
            (
                "tokens",
                f"{tokens['p50']} median, {tokens['p95']} 95th percentile, {tokens['max']} longest",
                self._what_is_trained_on(),
            ),
            ("longest row", f"{self.length['tokens']} tokens", self.length["why"]),
            *_answers(data["answers"]),
            *(("not checked", what, "") for what in data["not_checked"]),
        ]

    def _what_is_trained_on(self) -> str:
        if self.rollouts:
            return "prompts, of which none are trained on"
        return "read whole" if self.model["head"] else f"{self.data['trained_token_share']:.0%} trained on"

    def _how(self) -> list[tuple[str, str, str]]:
        arguments, rollouts = self.arguments, self.rollouts
        batch = f"{arguments['per_device_train_batch_size']} {'answers' if rollouts else 'rows'}"
        if arguments["gradient_accumulation_steps"] > 1:
            batch += f" x {arguments['gradient_accumulation_steps']} accumulated"
        if self.schedule["processes"] > 1:
            batch += f" x {self.schedule['processes']} processes"
        return [
            ("steps", f"{self.steps} of {batch}", f"{self.schedule['epochs']:g} epochs"),
            *(_phases(rollouts) if rollouts else ()),
            (
                "learning rate",
                f"{arguments['learning_rate']:g}, {self.parameters['scheduler']['value']}, {plural(arguments['warmup_steps'], 'step')} of warm-up",
                self._source("lr"),
            ),
            ("layout", self.layout["name"], self.layout["why"]),
            ("precision", self.precision["name"], self.precision["why"]),
        ]

    def _trials(self) -> list[tuple[str, str, str]]:
        sweep = self.sweep or {}
        where = sweep["storage"] or "sweep/study.journal"
        rows = [
            ("trials", f"{sweep['trials']}, proposed by {sweep['sampler']}", self._source("sweep_n_trials")),
            ("best at", f"{sweep['metric']}, {sweep['direction']}d", self._source("sweep_metric")),
        ]
        if sweep["held_out"]:
            rows.append(("evaluated on", f"a share of {sweep['held_out']} of the rows, held out", "none were named"))
        of = "--sweep-params" if sweep["written"] else "the trainer's own space"
        rows += [(f"  {name}", describe(read_search(space)), of) for name, space in sweep["space"].items()]
        return [*rows, ("study", f"{sweep['study']} in {where}", f"the best {sweep['keep']} kept")]

    def _cost(self) -> list[tuple[str, str, str]]:
        return [
            *memory_in_words(self.estimate),
            ("a checkpoint", show_bytes(self.estimate["checkpoint_bytes"]), "estimated"),
            ("output", self.output["dir"], self._source("output_dir")),
        ]

    def _source(self, name: str) -> str:
        return str(self.parameters[name]["source"])


def _answers(answers: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """What could be learnt from answers without reading them: that the preferred ones are longer, or that most are good."""
    if answers is None:
        return []
    if "good" in answers:
        return [("labels", f"{answers['good']} good, {answers['bad']} bad", f"{answers['good_share']:.0%} good")]
    words = f"chosen {answers['chosen_median']} tokens, rejected {answers['rejected_median']} (medians)"
    return [("answers", words, f"the chosen one is longer in {answers['chosen_longer_share']:.0%} of the rows")]


def _phases(rollouts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """How many answers are sampled at a time, and what is learnt from them."""
    answers = rollouts["prompts_of_phase"] * rollouts["answers_each"]
    words = f"{plural(answers, 'answer')} at a time"
    if rollouts["answers_each"] > 1:
        words += f", {rollouts['answers_each']} to each prompt"
    return [("samples", words, f"learnt from {plural(rollouts['passes'], 'time')}")]


def adapter_name(adapter: dict[str, Any]) -> str:
    """LoRA, DoRA, and either with the scale of rsLoRA, by the names that their papers gave them."""
    return ("rs" if adapter["rslora"] else "") + ("DoRA" if adapter["dora"] else "LoRA")


def make_plan(config: Config, context: RunContext, ignored: tuple[str, ...] = ()) -> Plan:
    """Decide everything. `context.prepared` holds at least one row."""
    layout = _layout(config, context)
    rows = row_count(context, packing=layout["packing"])
    schedule = _schedule(config, context, rows)
    memory = Memory(config, context, layout, schedule)
    precision = _with_checkpointing(config, memory, _precision(config, context))
    reference = _reference(config, context, schedule, memory, precision)
    cost = _estimate(memory, precision, config.target_memory)
    return Plan(
        trainer=config.trainer,
        parameters=_parameters(config),
        ignored=ignored,
        model=_model(config, context),
        data=_data(config, context),
        objective=_objective(config, context, reference),
        length={"tokens": context.limit.tokens, "parameter": context.limit.parameter, "why": context.limit.why},
        layout=layout,
        precision=precision,
        arguments=_arguments(config, schedule, precision),
        schedule=schedule,
        output=_output(config, context),
        steps=schedule["steps"],
        estimate=cost,
        adapter=_adapter(config, context),
        hub=_hub(config),
        distillation=decide_distillation(config, context),
        sweep=decide_sweep(config, context),
        evaluation=decide_evaluation(config, context),
        rollouts=_rollouts(config, context, schedule),
        engine=config.engine,
        seed=config.seed,
    )


def row_count(context: RunContext, *, packing: bool) -> int:
    """Rows as the batches count them: packed ones where rows are packed."""
    assert context.prepared is not None
    if packing:
        return len(pack(context.prepared.train.lengths.tolist(), context.limit.tokens))
    return len(context.prepared.train) * _answers_of_a_row(context, parted=True)


def _answers_of_a_row(context: RunContext, *, parted: bool = False) -> int:
    """How many answers a prepared row has; with `parted`, as how many rows the trainer takes it."""
    assert context.dataset is not None
    spec = context.config.trainer_spec
    return 2 if context.dataset.format == "preference" and (spec.parts_pairs or not parted) else 1


def _parameters(config: Config) -> dict[str, dict[str, Any]]:
    """Every parameter the trainer reads, with its source; commands and secrets left out."""
    return {
        param.name: {
            "value": SECRET if param.secret and config.value_of(param.name) else _plain(config.value_of(param.name)),
            "source": config.source(param.name),
        }
        for param in PARAMS.values()
        if config.applies(param.name) and not param.command
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _model(config: Config, context: RunContext) -> dict[str, Any]:
    facts = context.model
    base = facts.model_located if facts else None
    kind = "llama" if context.is_scratch else facts.model_type if facts else None
    architecture = (
        "LlamaForCausalLM"
        if context.is_scratch
        else next(iter(facts.architectures), facts.model_type)
        if facts
        else None
    )
    head = _score_head(config, context)
    return {
        "name": config.model,
        "kind": facts.located.kind if facts else "scratch",
        "folder": str(facts.located.folder) if facts and facts.located.folder else None,
        "base": base.name if base and facts and base is not facts.located else None,
        "architecture": architecture if head is None else classifier_of(kind),
        "model_type": kind,
        "head": head,
        "scores": config[Reward].num_labels if head else None,
        "parameters": context.parameters,
        "shape": context.shape,
        "tokenizer": config.tokenizer or ("trained on the data" if context.is_scratch else config.model),
        "revision": config.revision,
        "cache_dir": config.cache_dir,
        "offline": config.offline,
        "trust_remote_code": config.trust_remote_code,
        "quantization": config.quantization,
        "attention": config.attn_implementation,
    }


def _score_head(config: Config, context: RunContext) -> str | None:
    """Where a model that scores has its head from; None for one that generates."""
    if config.trainer_spec.rows != "scored":
        return None
    facts = context.model
    if facts is None or context.is_scratch or not facts.is_classifier:
        return NEW_HEAD
    return KEPT_HEAD if facts.is_adapter or facts.num_labels == 1 else NEW_HEAD


def _data(config: Config, context: RunContext) -> dict[str, Any]:
    dataset, prepared = context.dataset, context.prepared
    assert dataset is not None and prepared is not None
    statistics = prepared.statistics
    return {
        "path": config.data_path,
        "format": dataset.format,
        "columns": dict(dataset.columns),
        "recognised": dataset.describe(),
        "split": config.train_split,
        "evaluation": config.eval_dataset_path or config.valid_split,
        "samples": config.max_samples,
        "fingerprint": prepared.fingerprint,
        **{
            key: statistics[key]
            for key in (
                "rows",
                "eval_rows",
                "tokens",
                "total_tokens",
                "truncated_rows",
                "dropped_rows",
                "trained_token_share",
            )
        },
        "answers": statistics["answers"],
        "not_checked": _not_checked(config, context),
    }


def _not_checked(config: Config, context: RunContext) -> list[str]:
    """What of the rows preflight did not look at, in words."""
    most = config.check_rows or 0
    unread = (
        [f"no more than {plural(most, 'row')} of a side were read, and steps are counted for these"]
        if context.reads_part_of_the_rows
        else []
    )
    return [*unread, *context.row_checks.not_checked]


def _objective(config: Config, context: RunContext, reference: dict[str, Any] | None) -> dict[str, Any]:
    """What is minimised, with the values it is made with, what it is measured against, and TRL's trainer for it."""
    spec = config.trainer_spec
    decided: dict[str, Any] = {"name": config.trainer, "function": spec.objective, "trl": spec.trl_adapter}
    decided |= {name: getattr(config, name) for name in spec.settings}
    if config.applies("model_ref"):
        decided["reference"] = reference
    elif spec.samples:
        decided["reference"] = decide_anchor(config, context)
    return decided


def _reference(
    config: Config, context: RunContext, schedule: dict[str, Any], memory: Memory, precision: dict[str, Any]
) -> dict[str, Any] | None:
    """What preferences are measured against: beforehand where memory would not hold it beside the training."""
    if not config.applies("model_ref"):
        return None
    short = memory.bytes(checkpointing=precision["checkpointing"]) > SHARE * memory.available
    memory.refers_beforehand = short
    return decide_reference(config, context, schedule["epochs"], short_of_memory=short)


def _rollouts(config: Config, context: RunContext, schedule: dict[str, Any]) -> dict[str, Any] | None:
    """What a policy samples and what scores it, and how many answers it learns from at a time."""
    decided = decide_rollouts(config, context)
    if decided is None:
        return None
    phases = decide_phases(config, schedule["rows"], schedule["processes"])
    return decided | decide_learning(config, context, phases)


def _layout(config: Config, context: RunContext) -> dict[str, Any]:
    """One flat stream where the architecture is known to keep rows apart in it, else padded."""
    packing = bool(config.applies("packing") and config[Sft].packing)
    known = {"model_type": "llama"} if context.is_scratch else (context.model.config if context.model else None) or {}
    apart, reason = keeps_rows_apart(known)
    if apart and config.applies("model_ref") and context.reference is not None:
        apart, reason = keeps_rows_apart(context.reference.config or {})
    if apart and context.teacher is not None and config.distill_alpha > 0:
        apart, reason = keeps_rows_apart(context.teacher.config or {})
    values = value_model_of(config, context)
    if apart and values is not None:
        apart, reason = keeps_rows_apart(values.config or {})
    if context.model and not context.is_scratch and context.model.is_encoder:
        reason = f"{context.model.model_type} is an encoder: it reads a row from both sides"
    if not apart:
        return {"name": "padded", "why": reason, "packing": False}
    if config.engine == "trl" and not packing:
        return {"name": "padded", "why": "TRL's trainer pads", "packing": False}
    return {
        "name": "packed" if packing else "flat",
        "why": "rows lie in one stream without padding",
        "packing": packing,
    }


def _precision(config: Config, context: RunContext) -> dict[str, Any]:
    """What is computed in: what was asked for, else bf16 where the device computes in it."""
    machine = context.machine
    device = f"GPU {machine.gpus[0].name}" if machine.has_cuda else "processor"
    if config.mixed_precision:
        name, why = config.mixed_precision, config.source("mixed_precision")
    elif machine.computes_bf16:
        name, why = "bf16", f"the {device} computes in it"
    else:
        name, why = "fp32", f"the {device} does not compute in bf16"
    return {"name": name, "why": why, "cpu": not machine.has_cuda}


def _with_checkpointing(config: Config, memory: Memory, precision: dict[str, Any]) -> dict[str, Any]:
    """Activations are computed twice where that was asked for, or where memory would not do."""
    if config.gradient_checkpointing is not None:
        return precision | {
            "checkpointing": config.gradient_checkpointing,
            "checkpointing_why": config.source("gradient_checkpointing"),
        }
    short = memory.bytes(checkpointing=False) > SHARE * memory.available
    return precision | {
        "checkpointing": short,
        "checkpointing_why": "memory would not do without" if short else "memory does without",
    }


def _schedule(config: Config, context: RunContext, rows: int) -> dict[str, Any]:
    """Steps, and when to log, evaluate and save."""
    processes = context.machine.processes
    if config.trainer_spec.samples:
        phases = decide_phases(config, rows, processes)
        batch_size, accumulated, steps_of_epoch = (phases[name] for name in ("batch_size", "batches", "steps_of_epoch"))
    else:
        batch_size, accumulated = config.batch_size, config.gradient_accumulation
        batches = math.ceil(math.ceil(rows / processes) / batch_size)
        steps_of_epoch = max(1, math.ceil(batches / accumulated))
    if config.max_steps and config.max_steps > 0:
        steps = config.max_steps
    else:
        steps = max(1, math.ceil(steps_of_epoch * config.epochs))
    has_rows = bool(context.prepared and context.prepared.valid is not None and len(context.prepared.valid))
    evaluate = asked_evaluation(config) or ("epoch" if has_rows else "no")
    eval_steps = config.eval_steps or max(1, steps // EVALUATIONS_BY_STEPS)
    save = asked_saving(config) or (evaluate if evaluate != "no" else "epoch")
    save_steps = config.save_steps or (eval_steps if evaluate == "steps" else 500)
    log = config.logging_steps if config.logging_steps and config.logging_steps > 0 else max(1, steps // LOG_LINES)
    return {
        "rows": rows,
        "processes": processes,
        "batch_size": batch_size,
        "accumulated": accumulated,
        "steps_of_epoch": steps_of_epoch,
        "steps": steps,
        "epochs": steps / steps_of_epoch,
        "evaluate": evaluate,
        "eval_steps": eval_steps,
        "save": save,
        "save_steps": save_steps,
        "log_steps": log,
        "patience": config.early_stopping_patience,
        "trackers": list(config.log),
    }


def _arguments(config: Config, schedule: dict[str, Any], precision: dict[str, Any]) -> dict[str, Any]:
    """The arguments of transformers' Trainer, by its own names."""
    steps = schedule["steps"]
    best = chooses_checkpoints(config)
    arguments = {
        "learning_rate": config.lr,
        "num_train_epochs": schedule["epochs"],
        "max_steps": steps,
        "per_device_train_batch_size": schedule["batch_size"],
        "per_device_eval_batch_size": config.eval_batch_size or config.batch_size,
        "gradient_accumulation_steps": schedule["accumulated"],
        "optim": OPTIMIZER_NAMES.get(config.optimizer, config.optimizer),
        "lr_scheduler_type": config.scheduler,
        "warmup_steps": min(math.ceil(steps * config.warmup_ratio), steps - 1),  # the last step learns at any rate
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "bf16": precision["name"] == "bf16",
        "fp16": precision["name"] == "fp16",
        "use_cpu": precision["cpu"],
        "logging_steps": schedule["log_steps"],
        "eval_strategy": schedule["evaluate"],
        "eval_steps": schedule["eval_steps"],
        "save_strategy": schedule["save"],
        "save_steps": schedule["save_steps"],
        "save_total_limit": config.save_total_limit,
        "load_best_model_at_end": best,
    }
    if config.scheduler == "warmup_stable_decay":
        arguments["lr_scheduler_kwargs"] = {"num_decay_steps": max(1, steps // 10)}
    if best:
        metric, direction = best_metric(config)
        arguments |= {"metric_for_best_model": metric, "greater_is_better": direction == MAXIMIZE}
    if config.distributed_backend == "fsdp":
        arguments |= {"fsdp": "full_shard auto_wrap", "fsdp_config": {"fsdp_version": 2}}
    return arguments


def _adapter(config: Config, context: RunContext) -> dict[str, Any] | None:
    if not config.peft:
        return None
    # A score adapter is saved for the model whose files it began with, which an adapter merged beneath it is no part of.
    merged_beneath = context.model is not None and context.model.is_adapter and _score_head(config, context) == NEW_HEAD
    return {
        "r": config.lora_r,
        "alpha": config.lora_alpha,
        "dropout": config.lora_dropout,
        "dora": config.use_dora,
        "rslora": config.use_rslora,
        "target_modules": list(config.target_modules),
        "merge": config.merge_adapter or merged_beneath,
    }


def _hub(config: Config) -> dict[str, Any] | None:
    if not config.push_to_hub:
        return None
    return {
        "username": config.username,
        "private": config.hub_private,
        "token": "given" if config.token else "environment",
    }


def _output(config: Config, context: RunContext) -> dict[str, Any]:
    output = context.output
    return {
        "dir": config.output_dir or str(output.folder),
        "overwrite": config.overwrite,
        "checkpoint": str(output.checkpoint) if output.checkpoint else None,
    }


def _estimate(memory: Memory, precision: dict[str, Any], target: str | None) -> dict[str, Any]:
    """What the run takes at its largest moment, of what, and how other flags would change that."""
    machine, found = memory.machine, memory.peak(checkpointing=precision["checkpointing"])
    cost: dict[str, Any] = {
        "peak_memory_bytes": found.bytes if found else 0,
        "checkpoint_bytes": memory.checkpoint_bytes,
        "moment": found.moment if found else None,
        "memory": {name: size for name, size in found.parts.items() if size} if found else {},
        "kernels_kept": memory.kernels_kept,
        "device": {
            "kind": "GPU" if machine.has_cuda else "processor",
            "memory_bytes": memory.available,
            "supposed": machine.supposed,
            "as_named": machine.is_as_named,
            "named": target,
        },
        "with": memory.ways(precision["checkpointing"]),
        "largest": memory.largest(precision["checkpointing"]) if target else None,
        "way_out": None,
    }
    if cost["peak_memory_bytes"] > memory.available:
        cost["way_out"] = memory.way_out(precision["checkpointing"])
        if cost["way_out"]:
            cost["way_out_bytes"] = memory.bytes(cost["way_out"], checkpointing=precision["checkpointing"])
    return cost
