"""The summary of a plan for the terminal: rows of a name, a value, and its source or reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.dataset import unused_in_words, where_in_row
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.search import describe, read_search
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import plain, plural, show_bytes, show_count
from autotrain_llm.params.optimizers import DECAYING, OPTIMIZERS
from autotrain_llm.planning.kinds import CLASSES, KEPT_HEAD, MISSING_END, MODEL, NEW_HEAD
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SHARED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autotrain_llm.planning.plan import (
        DataPlan,
        DistillPlan,
        MemoryPlan,
        Plan,
        ResumePlan,
        RolloutPlan,
        ShardingPlan,
        SourcePlan,
        SweepPlan,
    )

Row = tuple[str, str, str]
DIVERGENCES = {"forward_kl": "KL(teacher‖student)", "reverse_kl": "KL(student‖teacher)", "jsd": "Jensen-Shannon"}
HEADS = {NEW_HEAD: " with a new score head", KEPT_HEAD: " with its score head"}


def summary(plan: Plan) -> list[tuple[str, list[Row]]]:
    """The sections of a plan, each a title with its rows."""
    sections = [("What", _what(plan)), ("Data", _data(plan)), ("How", _how(plan))]
    if plan.sweep:
        sections.append(("Sweep", _trials(plan, plan.sweep)))
    sections.append(("Cost and output", _cost(plan)))
    return [(title, [tuple(map(showable, row)) for row in rows]) for title, rows in sections]  # type: ignore[misc]


def summary_html(title: str, sections: Sequence[tuple[str, Sequence[tuple[str, ...]]]]) -> str:
    """Sections of rows as HTML, a table in a box that can be closed; all texts are escaped."""
    from html import escape

    lines = [f"<details open><summary>{escape(title)}</summary><table>"]
    for name, rows in sections:
        lines += [f'<tr><th colspan="3" style="text-align: left">{escape(name)}</th></tr>'] if name else []
        for row in rows:
            cells = "".join(f'<td style="text-align: left">{escape(cell.strip())}</td>' for cell in row)
            lines.append(f"<tr>{cells}</tr>")
    return "".join([*lines, "</table></details>"])


def _source(plan: Plan, parameter: str) -> str:
    return plan.parameters[parameter].described()


def _what(plan: Plan) -> list[Row]:
    model, adapter, reference = plan.model, plan.adapter, plan.objective.reference
    head = HEADS.get(model.head or "", "")
    size = f"{show_count(model.parameters)} parameters{_in_bits(model.quantization)}"
    rows = [
        ("trainer", plan.trainer, _source_of_trainer(plan)),
        ("model", f"{model.name} ({model.architecture}{head}, {size})", _source(plan, "model")),
    ]
    if model.labels:
        kind = "classes" if model.problem_type == CLASSES else "scores"
        rows.append((kind, ", ".join(model.labels), "cross entropy" if kind == "classes" else "mean squared error"))
    if adapter:
        targets = ", ".join(adapter.target_modules)
        begins = f", begins as {adapter.init}" if adapter.init else ""
        tokens = f", and the rows of {plural(len(adapter.tokens), 'token')}" if adapter.tokens else ""
        rows.append(
            (
                "adapter",
                f"{adapter.name} of rank {adapter.r} (alpha {adapter.alpha:g}, dropout {adapter.dropout:g}) on {targets}{begins}{tokens}",
                _source(plan, "peft"),
            )
        )
    weights = plan.objective.settings.get("token_weights")
    if weights:
        rows.append(
            (
                "token weights",
                ", ".join(f"{text} {plain(weight)}" for text, weight in weights.items()),
                "of every other token: 1",
            )
        )
    if reference:
        kind = f"{reference.kind}, {reference.model}" if reference.model else reference.kind
        rows.append(("reference", f"{kind}: {reference.when}", reference.why))
    if plan.rollouts:
        rows.append(("reward", _rewards(plan.rollouts), ""))
        if plan.rollouts.rl_value_model is not None:
            rows.append(("value function", _values(plan, plan.rollouts), _source(plan, "rl_value_model")))
    return rows + (_teacher(plan.distillation) if plan.distillation else [])


def _in_bits(quantization: str | None) -> str:
    return f", in {quantization}" if quantization else ""


def _source_of_trainer(plan: Plan) -> str:
    """Where the trainer came from; by default, plain text is trained on row by row, and the trainer that makes blocks of it is named."""
    source = _source(plan, "trainer")
    return f"{source}; --trainer generic makes blocks of texts" if plan.default_trainer_on_texts else source


def _rewards(rollouts: RolloutPlan) -> str:
    """The terms of the reward in one line."""
    terms = []
    for reward in rollouts.rewards:
        if reward.kind == MISSING_END:
            terms.append(f"{-reward.weight:g} off if an answer has no end token")
        else:
            output = "" if reward.output is None else f"{reward.name} of "
            terms.append(("" if reward.weight == 1 else f"{reward.weight:g} x ") + output + str(reward.source))
    return ", ".join(terms)


def _values(plan: Plan, rollouts: RolloutPlan) -> str:
    """The value function in one line."""
    kind = rollouts.rl_value_model
    if kind == SHARED:
        return "a new head on the policy's last layer"
    source = next((reward.source for reward in rollouts.rewards if reward.kind == MODEL), None)
    if kind == CORRECTED:
        return f"{source}, corrected by a new head on the policy's last layer"
    how = "with an adapter of its own" if plan.adapter else "all weights trained"
    if kind == OF_REWARD:
        return f"a copy of {source} with its score head, {how}"
    return f"a copy of the model with a new head, {how}"


def _teacher(distillation: DistillPlan) -> list[Row]:
    teacher, sizes = distillation.teacher, distillation.embedding_rows
    if not distillation.is_used:
        return [("teacher", f"{teacher}, not run", "--distill-alpha 0")]
    cached = f", top {distillation.top_k} log-probabilities cached" if distillation.top_k else ""
    size = f"{show_count(distillation.parameters)} parameters{_in_bits(distillation.quantization)}"
    alpha, divergence = distillation.alpha, DIVERGENCES[distillation.loss]
    rows = [
        (
            "teacher",
            f"{teacher} ({distillation.architecture}, {size})",
            f"{distillation.when}{cached}",
        ),
        (
            "loss",
            f"{1 - alpha:g} of the task's, {alpha:g} T² {divergence}",
            f"at temperature T = {distillation.temperature:g}",
        ),
    ]
    if sizes:
        why = f"the student's embedding has {sizes.student} rows, the teacher's {sizes.teacher}"
        rows.append(("compared over", f"{distillation.tokens} tokens", why))
    return rows


def _data(plan: Plan) -> list[Row]:
    data, tokens = plan.data, plan.data.tokens
    evaluation = f"{data.eval_rows} for evaluation" if data.eval_rows else "none for evaluation"
    if data.held_out:
        evaluation += f" (--valid-split {data.held_out} would evaluate on that split)"
    if data.evaluated_rows < data.eval_rows:
        evaluation = f"{data.evaluated_rows} of {evaluation}"
    shortened = [(data.truncated_rows, "truncated"), (data.dropped_rows, "dropped")]
    to_train_on = "checked of those to train on" if data.streaming else "to train on"
    counts = [
        f"{data.rows} {to_train_on}",
        evaluation,
        *(f"{count} {outcome}" for count, outcome in shortened if count),
    ]
    source = _source(plan, "data_path" if data.sources is None else "data_config")
    return [
        (
            "data",
            f"{data.path} ({', '.join(filter(None, (data.format, data.turns, data.prepared and 'prepared')))})",
            source,
        ),
        *(_sources(data.sources) if data.sources is not None else ()),
        *_columns(data),
        *([("samples", _samples_of(data.samples, plan), _source(plan, "max_samples"))] if data.samples else []),
        *_streaming(data),
        # Of plain text the rows are blocks, made of any number of texts.
        ("blocks" if TRAINERS[plan.trainer].rows == "documents" else "rows", ", ".join(counts), left_out(data)),
        ("tokens", f"{tokens.p50} median, {tokens.p95} 95th percentile, {tokens.max} longest", _trained_on(plan)),
        ("longest row", f"{plan.length.tokens} tokens", plan.length.why),
        *([plan.data.answers.row()] if plan.data.answers else []),
        *(("not checked", what, "") for what in data.not_checked),
    ]


def _samples_of(samples: int, plan: Plan) -> str:
    """Which rows are used of all; a stream's first, because whoever streams can't know how many there are."""
    if plan.data.streaming is not None:
        return f"the first {plural(samples, 'row')}"
    return f"{plural(samples, 'row')}, chosen by --seed {plan.seed}"


def _sources(sources: Sequence[SourcePlan]) -> list[Row]:
    """What an epoch has of each source of a mixture."""
    rows = []
    for source in sources:
        share = f"{source.share_of_rows:.1%} of the rows, {source.share_of_tokens:.1%} of the tokens"
        used = "each row once"
        if source.passes > 1:
            used = f"repeated {source.passes:.3g} times"
        elif source.passes < 1:
            used = f"{source.passes:.3g} of its {source.rows}"
        used += f"; of {plural(source.samples, 'row')} chosen by the seed" if source.samples is not None else ""
        rows.append((f"  {source.name}", f"{plural(source.rows_of_epoch, 'row')} per epoch: {share}", used))
    return rows


def _streaming(data: DataPlan) -> list[Row]:
    """How rows are read that are streamed."""
    if data.streaming is None:
        return []
    how = f"read while training, shuffled within {data.streaming.buffer} rows"
    return [("streamed", how, "after the last row from the first on")]


def left_out(data: DataPlan) -> str:
    """What a template leaves out on purpose, or that it is left out itself."""
    if data.unused_template:
        return "plain text: the tokenizer's chat template is applied with --chat-template tokenizer only"
    count = data.rows_without_earlier_thoughts
    return (
        f"the template leaves out the reasoning of earlier turns in {count} of {plural(data.rows, 'row')}"
        if count
        else ""
    )


def _columns(data: DataPlan) -> list[Row]:
    """Where columns beside prompt and answer stand, which are given to reward functions, and which are not used."""
    beside = [f"{column} → {where}" for role, column in data.columns.items() if (where := where_in_row(role))]
    parts = [*beside, *unused_in_words(data.columns, data.unused_columns)]
    return [("columns", "; ".join(parts), "")] if parts else []


def _trained_on(plan: Plan) -> str:
    if plan.rollouts:
        return "prompts: not trained on"
    return "scored as a whole" if plan.model.head else f"{plan.data.trained_token_share:.0%} trained on"


def _how(plan: Plan) -> list[Row]:
    arguments, schedule = plan.arguments, plan.schedule
    counted = "answer" if plan.rollouts else "row" if schedule.tokens_of_batch is None else "pack"
    batch = plural(arguments.per_device_train_batch_size, counted)
    if arguments.gradient_accumulation_steps > 1:
        batch += f" x {arguments.gradient_accumulation_steps} accumulated"
    if schedule.batches_at_once > 1:
        batch += f" x {schedule.batches_at_once} {'groups of processes' if schedule.context_parallel else 'processes'}"
    if schedule.batches_at_once > 1 or plan.parameters["global_batch"].value:
        rows = plan.rollouts.schedule.answers_of_step if plan.rollouts else schedule.rows_of_step
        batch += f" = {rows}"
    warmup = plural(arguments.warmup_steps, "step") if arguments.warmup_steps else "no"
    rate = f"{arguments.learning_rate:g}, {_schedule_in_words(plan)}, {warmup}{' of' if arguments.warmup_steps else ''} warm-up"
    epochs = f"{schedule.epochs:.4g} epoch{'' if schedule.epochs == 1 else 's'}"
    epochs_given = plan.parameters["epochs"].value if "epochs" in plan.parameters else None
    if plan.parameters["max_steps"].value and epochs_given and schedule.epochs < 0.99 * epochs_given:
        epochs += f" in place of {epochs_given:g}: --max-steps ends the run"
    return [
        *(_resumed(plan, plan.resume) if plan.resume else ()),
        ("steps", f"{plan.steps} of {batch}", "of a stream" if plan.data.streaming else epochs),
        *_tokens_of_step(plan),
        *(_processes(plan.sharding, schedule.processes) if plan.sharding else ()),
        *_launched(plan),
        *(_divided(schedule.context_parallel) if schedule.context_parallel else ()),
        *(_samples(plan.rollouts) if plan.rollouts else ()),
        ("learning rate", rate, _source(plan, "lr")),
        *_optimizer(plan),
        *_kept(plan),
        ("layout", plan.layout.name, plan.layout.why),
        ("precision", plan.precision.name, plan.precision.why),
        *([("written in", plan.model.saved_dtype, "as the model's files are")] if plan.model.saved_dtype else []),
        *([("layers", "compiled", plan.compiled)] if plan.compiled else []),
        *([("adapters", _fused(plan.fusing.fused), plan.fusing.why)] if plan.fusing else []),
    ]


def _fused(fused: bool) -> str:
    return "computed together in a layer" if fused else "computed one by one, by PEFT"


def _tokens_of_step(plan: Plan) -> list[Row]:
    """The tokens of an optimizer step over all processes, where batches are counted in tokens."""
    budget, schedule = plan.values.get("batch_tokens"), plan.schedule
    if not budget:
        return []
    batches = schedule.rows_of_step
    mean = schedule.tokens_of_batch
    return [
        (
            "tokens of a step",
            f"at most {batches * budget:,}" + ("" if mean is None else f", {batches * mean:,.0f} on average"),
            _source(plan, "batch_tokens"),
        )
    ]


def _schedule_in_words(plan: Plan) -> str:
    """The schedule of the learning rate, and the share of its peak that it ends at."""
    if not OPTIMIZERS[plan.values["optimizer"]].schedules:
        return "no schedule"
    scheduler, floor = plan.values["scheduler"], plan.values["min_lr_ratio"]
    return f"{scheduler} to {floor:g} of it" if floor and scheduler in DECAYING else str(scheduler)


def _optimizer(plan: Plan) -> list[Row]:
    """The optimizer, where it is not the usual one."""
    name = plan.values["optimizer"]
    return [] if name == next(iter(OPTIMIZERS)) else [("optimizer", name, _source(plan, "optimizer"))]


def _processes(sharding: ShardingPlan, processes: int) -> list[Row]:
    """What each process has of the weights."""
    copies = f", {processes // sharding.shards} copies" if sharding.shards < processes else ""
    place = ", in main memory" if sharding.offload else ""
    part = f"1 of {sharding.shards} parts of weights, gradients and optimizer states{place} (FSDP2){copies}"
    return [("each process has", part if sharding.shards > 1 else "a copy of the model", sharding.why)]


def _launched(plan: Plan) -> list[Row]:
    """How many processes train together, where, and how often they are started again."""
    launch = plan.launch
    if launch is None:
        return []
    what = "one" if launch.processes == 1 else f"{launch.processes} on this machine"
    if launch.nodes > 1:
        what = f"{launch.processes} on each of {launch.nodes} nodes"
    again = f"started again at most {plural(launch.max_restarts, 'time')}" if launch.max_restarts else ""
    meeting = f"meet at {launch.head}" if launch.head else ""
    return [("processes", what, "; ".join(filter(None, (meeting, again))))]


def _divided(processes: int) -> list[Row]:
    return [("tokens of a batch", f"divided among {processes} processes", "--context-parallel")]


def _kept(plan: Plan) -> list[Row]:
    """Which checkpoint the finished model is, if it is not the last one."""
    if not plan.arguments.load_best_model_at_end:
        return []
    patience = plan.parameters["early_stopping_patience"].value
    why = (
        f"after {plural(patience, 'evaluation')} without a better one, training stops"
        if patience
        else "--load-best-model-at-end"
    )
    return [("finished model", f"the checkpoint with the best {plan.arguments.metric_for_best_model}", why)]


def _resumed(plan: Plan, resume: ResumePlan) -> list[Row]:
    """The step that a run resumes after, and the parameters that have another value from there on."""
    left = plan.steps - resume.step
    rows = [("resumed", f"after step {resume.step}", f"{plural(left, 'step')} left" if left else "only to be saved")]
    for name, change in resume.changes.items():
        was, now = ("not given" if value is None else plain(value) for value in (change.before, change.now))
        rows.append((f"  {flag_of(name)}", f"{was} until step {resume.step}, then {now}", _source(plan, name)))
    if resume.steps_before not in (None, plan.steps) and left:
        why = f"the learning rate goes on as in a run of {plan.steps}"
        rows.append(("  length", f"{plan.steps} steps in place of {resume.steps_before}", why))
    return rows


def _samples(rollouts: RolloutPlan) -> list[Row]:
    """The size of a rollout, and the number of passes over it."""
    schedule = rollouts.schedule
    size = f"{plural(schedule.prompts_of_phase * schedule.answers_each, 'answer')} per rollout"
    if schedule.answers_each > 1:
        size += f", {schedule.answers_each} to each prompt"
    passes = "pass" if schedule.passes == 1 else "passes"
    return [("samples", size, f"trained on in {schedule.passes} {passes}")]


def _trials(plan: Plan, sweep: SweepPlan) -> list[Row]:
    rows = [
        ("trials", f"{sweep.trials}, proposed by {sweep.sampler}", _source(plan, "sweep_n_trials")),
        ("metric", f"{sweep.metric}, {sweep.direction}d", _source(plan, "sweep_metric")),
    ]
    if sweep.held_out:
        rows.append(("evaluated on", f"a share of {sweep.held_out} of the rows, held out", "no evaluation rows given"))
    origin = "--sweep-params" if sweep.written else "the trainer's own space"
    rows += [(f"  {name}", describe(read_search(space)), origin) for name, space in sweep.space.items()]
    storage = sweep.storage or "sweep/study.journal"
    return [*rows, ("study", f"{sweep.study} in {storage}", f"keeps the best {sweep.keep}")]


def _cost(plan: Plan) -> list[Row]:
    return [
        *_memory(plan.memory),
        *_loading(plan),
        ("a checkpoint", show_bytes(plan.memory.checkpoint_bytes), "estimated"),
        ("output", plan.output.dir, _source(plan, "output_dir")),
    ]


def _loading(plan: Plan) -> list[Row]:
    """The main memory that several processes with GPUs load the model into."""
    loaded, trained = plan.memory.loading_bytes, plan.memory.offloaded_bytes
    if loaded is None:
        return []
    if trained is not None and trained > loaded:
        return [
            ("main memory", f"about {show_bytes(trained)} on each machine", "weights, gradients and optimizer states")
        ]
    return [("main memory", f"about {show_bytes(loaded)} on each machine", "while the model is loaded")]


def _memory(memory: MemoryPlan) -> list[Row]:
    if not memory.moment:
        return [("memory", "not known", "the sizes of the model are not in its files")]
    device = memory.device
    device_size = f"{device.kind} of {show_bytes(device.memory_bytes)}"
    parts = sorted(memory.memory.items(), key=lambda part: -part[1])[:3]
    largest_parts = ", ".join(f"{name} {show_bytes(size)}" for name, size in parts)
    rows = [
        ("memory", f"about {show_bytes(memory.peak_memory_bytes)} of the {device_size}", "estimated"),
        *((f"  with {other.flags}", show_bytes(other.peak_memory_bytes), "") for other in memory.alternatives),
        ("at its peak", f"{memory.moment}: {largest_parts}", ""),
    ]
    if device.supposed:
        rows.insert(0, ("planned for", device_size, f"--target-memory; assumed: {device.supposed}"))
    elif device.named:
        why = "--target-memory" + ("" if device.as_named else f" {device.named}: more than there is")
        rows.insert(0, ("planned for", device_size, why))
    if memory.largest:
        fitting = [
            f"{flag_of(name)} {most}" if most else f"no {flag_of(name)}" for name, most in memory.largest.items()
        ]
        rows.append(("at most", ", ".join(fitting), "each by itself; lengths assume that all rows are that long"))
    return rows
