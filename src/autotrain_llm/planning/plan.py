"""The plan of a run: everything that is decided before a weight is loaded, as dataclasses. `planning/make.py` makes it, `run/` executes it.

Names of fields are the keys of the plan's JSON (`--format json`, run.json), unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.config.resolved import DEFAULT
from autotrain_llm.params.lora import OF_THE_BASE
from autotrain_llm.planning.serialise import from_json, json_field, omitted_if_none, to_json


@dataclass(frozen=True)
class ParameterValue:
    """The value of a parameter, and where it comes from: the command line, a config file, a preset, a default. `file` and `preset` are the config
    file or preset that sets it, and `written` is the name under which it was given if that is another than ours."""

    value: Any
    source: str
    file: str | None = field(default=None, metadata=omitted_if_none())
    written: str | None = field(default=None, metadata=omitted_if_none())
    preset: str | None = field(default=None, metadata=omitted_if_none())

    def described(self) -> str:
        """The source in words: `config file base.yaml (learning_rate)`."""
        words = [self.source, self.file or self.preset or "", f"({self.written})" if self.written else ""]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class ModelPlan:
    """The model that is trained. `folder` holds its files, `base` names the base model of an adapter, `shape` are a new model's LlamaConfig
    arguments, `head` says whether a score head is new or kept, `scores` is its number of outputs. Where there are several, `labels` are their
    names and `problem_type` is that of transformers: regression for scores, single_label_classification for classes. `saved_dtype` is that of the finished model
    where its weights are rounded for it: bf16 or fp16, as the model's files are."""

    name: str
    kind: str | None
    folder: str | None
    base: str | None
    architecture: str | None
    model_type: str | None
    head: str | None
    scores: int | None
    parameters: int | None
    shape: dict[str, Any] | None
    tokenizer: str
    revision: str | None
    cache_dir: str | None
    offline: bool
    trust_remote_code: bool
    quantization: str | None
    attention: str | None
    labels: tuple[str, ...] | None = field(default=None, metadata=omitted_if_none())
    problem_type: str | None = field(default=None, metadata=omitted_if_none())
    saved_dtype: str | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class TokenLengths:
    """Lengths of training rows before truncation, in tokens."""

    p50: int
    p95: int
    max: int


@dataclass(frozen=True)
class PairedAnswers:
    """Lengths of chosen and rejected answers after truncation, in tokens, and the share of pairs whose chosen answer is longer."""

    chosen_median: int
    rejected_median: int
    chosen_longer_share: float

    def row(self) -> tuple[str, str, str]:
        """Name, value and comment for the summary."""
        lengths = f"chosen {self.chosen_median} tokens, rejected {self.rejected_median} (medians)"
        return "answers", lengths, f"the chosen one is longer in {self.chosen_longer_share:.0%} of the rows"


@dataclass(frozen=True)
class LabelledAnswers:
    """How many answers are labelled good and bad."""

    good: int
    bad: int
    good_share: float

    def row(self) -> tuple[str, str, str]:
        """Name, value and comment for the summary."""
        return "labels", f"{self.good} good, {self.bad} bad", f"{self.good_share:.0%} good"


@dataclass(frozen=True)
class SourcePlan:
    """A source of a mixture: its rows and tokens to train on, how many of its rows an epoch has (`rows_of_epoch`), how often that goes
    through all of them (`passes`), and the shares of an epoch's rows and tokens. `weight` is None in a mixture without weights. `samples` is its
    `max_samples`: the source is so many of its rows, chosen by the seed."""

    name: str
    path: str
    format: str
    weight: float | None
    rows: int
    eval_rows: int
    tokens: int
    rows_of_epoch: int
    passes: float
    share_of_rows: float
    share_of_tokens: float
    fingerprint: str
    samples: int | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class StreamPlan:
    """Rows that are read while they are trained on: how many the process shuffles, and packs, at a time, and how many were checked before."""

    buffer: int
    checked_rows: int


@dataclass(frozen=True)
class DataPlan:
    """The rows: their source, format and token statistics. `columns` are those that are used, by role, `unused_columns` the others, with the
    reason; `fingerprint` is a hash of the tokens. Each evaluation goes over `evaluated_rows` of the `eval_rows`. `prepared` says of a folder that
    `autotrain prepare` wrote how it is used, `turns` how turns are told where the rows don't say it. `sources` are those of a mixture; without one, None.
    Of rows that are streamed, everything here is about those that were checked. `held_out` is a split with evaluation rows that is not read, `unused_template` whether the tokenizer
    has a chat template that plain text is written without."""

    path: str
    format: str
    columns: dict[str, str]
    unused_columns: dict[str, str]
    recognised: str
    split: str
    evaluation: str | float | None
    samples: int | None
    fingerprint: str
    rows: int
    eval_rows: int
    evaluated_rows: int
    prepared: str | None
    tokens: TokenLengths
    total_tokens: int
    truncated_rows: int
    dropped_rows: int
    rows_without_earlier_thoughts: int
    trained_token_share: float
    answers: PairedAnswers | LabelledAnswers | None
    not_checked: tuple[str, ...]
    sources: tuple[SourcePlan, ...] | None = field(default=None, metadata=omitted_if_none())
    turns: str | None = field(default=None, metadata=omitted_if_none())
    streaming: StreamPlan | None = field(default=None, metadata=omitted_if_none())
    held_out: str | None = field(default=None, metadata=omitted_if_none())
    unused_template: bool | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class ReferencePlan:
    """The reference model: its kind, its name if it is another model, when its log-probabilities are computed, and why."""

    kind: str
    model: str | None
    when: str
    why: str


def _settings_of(document: Mapping[str, Any]) -> Collection[str]:
    trainer = TRAINERS.get(document.get("name", ""))
    return trainer.settings if trainer else ()


def _has_no_reference(objective: ObjectivePlan, reference: ReferencePlan | None) -> bool:
    """Whether the key is left out: the trainer has no reference model. A trainer that samples without a KL penalty has null there."""
    return reference is None and not TRAINERS[objective.name].samples


@dataclass(frozen=True)
class ObjectivePlan:
    """The loss. `function` is the recipe that builds it from `settings`, the trainer's parameters by name; `trl` builds TRL's trainer. Both
    are written `module:name`."""

    name: str
    function: str | None
    trl: str | None
    settings: dict[str, Any] = field(metadata=json_field(inline=_settings_of))
    reference: ReferencePlan | None = field(default=None, metadata=json_field(omit=_has_no_reference))


@dataclass(frozen=True)
class LengthPlan:
    """The longest row, in tokens, and the parameter that decides it."""

    tokens: int
    parameter: str
    why: str


@dataclass(frozen=True)
class LayoutPlan:
    """How rows make a batch: `padded`, `flat` (one stream without padding), or `packed` (flat, several rows to an item, of at most
    `pack_tokens` tokens)."""

    name: str
    why: str
    packing: bool
    pack_tokens: int | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class PrecisionPlan:
    """The type that is computed in (bf16, fp16, fp32), the device, and whether gradient checkpointing is on, and if not all of a layer is computed
    again, its kind: `selective` or `offload`."""

    name: str
    why: str
    cpu: bool
    checkpointing: bool
    checkpointing_why: str
    checkpointing_kind: str | None = field(default=None, metadata=omitted_if_none())

    @property
    def checkpoints(self) -> bool | str:
        """What `--gradient-checkpointing` would say."""
        return self.checkpointing_kind or self.checkpointing


@dataclass(frozen=True)
class ShardingPlan:
    """What several processes divide: `full` if each keeps one of `shards` parts of weights, gradients and optimizer states, `hybrid` if
    those of a machine do and each machine has a copy, `none` if each process has one. `offload` is what lies in main memory, if anything."""

    kind: str
    shards: int
    why: str
    offload: str | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class TrainerArguments:
    """Arguments of transformers' TrainingArguments, by its names."""

    learning_rate: float
    num_train_epochs: float
    max_steps: int
    per_device_train_batch_size: int
    per_device_eval_batch_size: int
    gradient_accumulation_steps: int
    optim: str | None = field(metadata=omitted_if_none())
    lr_scheduler_type: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    seed: int
    data_seed: int
    bf16: bool
    fp16: bool
    use_cpu: bool
    logging_steps: int
    eval_strategy: str
    eval_steps: int
    save_strategy: str
    save_steps: int
    save_total_limit: int
    load_best_model_at_end: bool
    lr_scheduler_kwargs: dict[str, Any] | None = field(default=None, metadata=omitted_if_none())
    metric_for_best_model: str | None = field(default=None, metadata=omitted_if_none())
    greater_is_better: bool | None = field(default=None, metadata=omitted_if_none())
    fsdp: bool | str | None = field(default=None, metadata=omitted_if_none())
    fsdp_config: dict[str, Any] | None = field(default=None, metadata=omitted_if_none())

    def as_arguments(self) -> dict[str, Any]:
        """Keyword arguments of TrainingArguments; fields that are None are left to its defaults."""
        arguments: dict[str, Any] = to_json(self)
        return arguments


@dataclass(frozen=True)
class OptimizerPlan:
    """An optimizer that `run/engine/optimizers.py` makes; `settings` are its own."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class TrackerPlan:
    """A tracker of `--log`, the project in which it has the run, and the run's name in it; None for that of the output folder."""

    name: str
    project: str
    run_name: str | None = None


@dataclass(frozen=True)
class SchedulePlan:
    """The number of steps and rows, and when to log, evaluate and save. `rows` is counted after packing.

    `context_parallel` processes divide the tokens of each batch; None if each has batches of its own. `tokens_of_batch`, with `--batch-tokens`, is the
    mean over an epoch.
    """

    rows: int
    processes: int
    batch_size: int
    accumulated: int
    steps_of_epoch: int
    steps: int
    epochs: float
    evaluate: str
    eval_steps: int
    save: str
    save_steps: int
    log_steps: int
    patience: int | None
    trackers: tuple[TrackerPlan, ...]
    context_parallel: int | None = field(default=None, metadata=omitted_if_none())
    tokens_of_batch: float | None = field(default=None, metadata=omitted_if_none())

    @property
    def batches_at_once(self) -> int:
        """One on each process, or on each group of processes that divide one."""
        return max(1, self.processes // (self.context_parallel or 1))

    @property
    def rows_of_step(self) -> int:
        """The rows of an optimizer step, over all processes."""
        return self.batch_size * self.accumulated * self.batches_at_once


@dataclass(frozen=True)
class OutputPlan:
    """The folder of the run; `checkpoint` is the one that it resumes from."""

    dir: str
    overwrite: bool
    checkpoint: str | None


@dataclass(frozen=True)
class ParameterChange:
    """A parameter's value in the run that is resumed, and the value from the checkpoint on."""

    before: Any
    now: Any


@dataclass(frozen=True)
class ResumePlan:
    """The step of the checkpoint that a run resumes from, the number of steps that were planned until then, and the parameters that change
    at this step."""

    step: int
    steps_before: int | None
    changes: dict[str, ParameterChange]


@dataclass(frozen=True)
class DevicePlan:
    """The device that memory was planned for, and the part of its memory that each of the `sharing` processes has that share it. `supposed` are the
    assumptions about a device that is not here, `named` is `--target-memory`, `as_named` whether the device has that much."""

    kind: str
    memory_bytes: int
    supposed: str | None
    as_named: bool
    named: str | None
    sharing: int = field(default=1, metadata=json_field(omit=lambda _, value: value == 1))


@dataclass(frozen=True)
class AlternativePlan:
    """The peak memory with other flags."""

    flags: str
    changes: dict[str, Any]
    peak_memory_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """The estimate of memory and disk, in bytes.

    `moment` is when the peak is reached and `memory` its parts in bytes, by name. `largest` are the largest values of parameters with which
    the run fits, each by itself. `smallest_fitting_change` are the fewest changes with which a run that does not fit would. `loading_bytes`, of
    several processes with GPUs, is the main memory that those of one machine take while the model is loaded, `offloaded_bytes` that of the parts
    that lie there while it is trained.
    """

    peak_memory_bytes: int
    checkpoint_bytes: int
    moment: str | None
    memory: dict[str, int]
    kernels_kept: int | None
    device: DevicePlan
    alternatives: tuple[AlternativePlan, ...] = field(metadata=json_field("with"))
    largest: dict[str, int | None] | None
    smallest_fitting_change: dict[str, Any] | None = field(metadata=json_field("way_out"))
    bytes_after_change: int | None = field(default=None, metadata=omitted_if_none("way_out_bytes"))
    loading_bytes: int | None = field(default=None, metadata=omitted_if_none())
    offloaded_bytes: int | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class AdapterPlan:
    """A LoRA adapter, with the names of its paper; `merge` adds it to the weights after training. `init` is how it begins, if not as usual, and
    `plus_ratio` what multiplies the learning rate of its B matrices. `tokens` are the ids whose rows of embedding and head are trained too."""

    r: int
    alpha: float
    dropout: float
    dora: bool
    rslora: bool
    target_modules: tuple[str, ...]
    merge: bool
    init: str | None = field(default=None, metadata=omitted_if_none())
    plus_ratio: float | None = field(default=None, metadata=omitted_if_none())
    tokens: tuple[int, ...] | None = field(default=None, metadata=omitted_if_none())

    @property
    def saved_rank(self) -> int:
        """The rank of the adapter that is saved: one that begins with a part of the model's weights is saved with what it began with."""
        return 2 * self.r if self.init in OF_THE_BASE else self.r

    @property
    def saved_alpha(self) -> float:
        """The alpha that the saved adapter has the same scale with."""
        return self.alpha * (1 if self.saved_rank == self.r else 2**0.5 if self.rslora else 2)

    @property
    def name(self) -> str:
        """LoRA or DoRA, with the prefix rs for the scale of rsLoRA."""
        return ("rs" if self.rslora else "") + ("DoRA" if self.dora else "LoRA")


@dataclass(frozen=True)
class FusingPlan:
    """Whether the adapters of a layer are computed together, and why, or why PEFT computes each."""

    fused: bool
    why: str


@dataclass(frozen=True)
class HubPlan:
    """The upload to the Hub; `token` says where the token is from and is never the token."""

    username: str | None
    private: bool
    token: str


@dataclass(frozen=True)
class EmbeddingRows:
    """Rows of the embeddings of student and teacher, if they differ."""

    student: int
    teacher: int


@dataclass(frozen=True)
class DistillPlan:
    """The teacher and the loss. `is_used` is False if its weight in the loss is zero. `tokens` is the number of token ids that the two models
    are compared over; `embedding_rows` is set if their numbers differ."""

    teacher: str
    kind: str | None
    folder: str | None
    architecture: str | None
    parameters: int | None
    quantization: str | None
    is_used: bool = field(metadata=json_field("asked"))
    alpha: float
    temperature: float
    loss: str
    top_k: int | None
    when: str
    student_prompt_template: str | None
    teacher_prompt_template: str | None
    tokens: int | None
    embedding_rows: EmbeddingRows | None = field(metadata=json_field("cut"))


@dataclass(frozen=True)
class SamplingPlan:
    """How answers are sampled: `batch` sequences at once, each of at most `longest` tokens with its prompt."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    backend: str
    batch: int
    longest: int | None


@dataclass(frozen=True, kw_only=True)
class RewardPlan:
    """One term of the reward: a model, a function, or the penalty for an answer without an end token. `as_turns`, set for models, is whether
    they read texts rendered as chat turns; `output` is the index of the output that a model with several is read at."""

    kind: str
    source: str | None
    as_turns: bool | None = field(default=None, metadata=omitted_if_none())
    name: str
    weight: float
    output: int | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class RolloutSchedulePlan:
    """The size of a rollout, and the steps in which its answers are trained on.

    A rollout has `prompts_of_phase` prompts with `answers_each` answers each. Each of its `passes` takes one step per `answers_of_step`
    answers, in `batches` of at most `batch_size` on each process. The last rollout of an epoch may be smaller.
    """

    prompts: int
    prompts_of_phase: int
    answers_each: int
    phases_of_epoch: int
    passes: int
    answers_of_step: int
    batch_size: int
    batches: int
    steps_of_epoch: int


@dataclass(frozen=True)
class RolloutPlan:
    """How answers are sampled and scored, and how rewards become advantages. Parameters keep their names."""

    sampling: SamplingPlan
    rewards: tuple[RewardPlan, ...]
    schedule: RolloutSchedulePlan = field(metadata=json_field(inline=True))
    rl_kl_coef: float
    rl_kl_target: float | None
    rl_target_kl: float | None
    rl_gamma: float | None = field(default=None, metadata=omitted_if_none())
    rl_gae_lambda: float | None = field(default=None, metadata=omitted_if_none())
    rl_num_generations: int | None = field(default=None, metadata=omitted_if_none())
    rl_advantage: str | None = field(default=None, metadata=omitted_if_none())
    rl_value_model: str | None = field(default=None, metadata=omitted_if_none())


@dataclass(frozen=True)
class SweepPlan:
    """The trials. `space` is the search space, by parameter; `own` are the command's own values, which the first trial has; `held_out` is the
    share of rows held out for evaluation if no evaluation rows are named; `written` is whether `--sweep-params` was given."""

    backend: str
    study: str
    storage: str | None
    trials: int
    timeout: float | None
    metric: str
    direction: str
    sampler: str
    pruner: str
    keep: int
    written: bool
    space: dict[str, Any]
    own: dict[str, Any] | None
    held_out: str | None


@dataclass(frozen=True)
class BertScorePlan:
    """The encoder of BERTScore, and the layer whose hidden states it compares."""

    model: str
    layer: int | None
    offline: bool
    cache_dir: str | None


@dataclass(frozen=True)
class AnswersPlan:
    """How answers to `rows` evaluation rows are generated."""

    rows: int
    max_new_tokens: int
    temperature: float
    max_prompt_tokens: int = field(metadata=json_field("room"))
    batch: int
    seed: int


@dataclass(frozen=True)
class EvalPlan:
    """Enhanced evaluation: the names that each metric reports, with the better direction; `measured` are the logged keys of metrics that come
    from the loss and not from texts, `scores` what compares texts: `module:name` by metric. `answers` is None where no answers are generated for it:
    ppo, grpo and spo sample theirs in any evaluation."""

    metrics: dict[str, dict[str, str]]
    measured: dict[str, str]
    scores: dict[str, str | None]
    bertscore: BertScorePlan | None
    answers: AnswersPlan | None
    predictions: bool
    benchmark: tuple[str, ...]


@dataclass(frozen=True)
class LaunchPlan:
    """The processes that train the model together: `processes` on each of `nodes`, which meet at `head`, and how often all are started again."""

    nodes: int
    processes: int
    head: str | None
    max_restarts: int


@dataclass(frozen=True)
class Plan:
    """A run. `parameters` holds every value with its source; the other fields are decided from them."""

    trainer: str
    parameters: dict[str, ParameterValue]
    ignored: tuple[str, ...]
    model: ModelPlan
    data: DataPlan
    objective: ObjectivePlan
    length: LengthPlan
    layout: LayoutPlan
    precision: PrecisionPlan
    arguments: TrainerArguments
    schedule: SchedulePlan
    output: OutputPlan
    steps: int
    memory: MemoryPlan = field(metadata=json_field("estimate"))
    adapter: AdapterPlan | None
    hub: HubPlan | None
    distillation: DistillPlan | None
    sweep: SweepPlan | None
    evaluation: EvalPlan | None
    rollouts: RolloutPlan | None
    engine: str
    seed: int
    resume: ResumePlan | None = field(default=None, metadata=omitted_if_none())
    sharding: ShardingPlan | None = field(default=None, metadata=omitted_if_none())
    optimizer: OptimizerPlan | None = field(default=None, metadata=omitted_if_none())

    @property
    def is_sharded(self) -> bool:
        """Whether each process has only a part of the weights."""
        return self.sharding is not None and self.sharding.shards > 1

    launch: LaunchPlan | None = field(default=None, metadata=omitted_if_none())
    compiled: str | None = field(default=None, metadata=omitted_if_none())  # why the layers are compiled, if they are
    fusing: FusingPlan | None = field(default=None, metadata=omitted_if_none())

    @property
    def values(self) -> dict[str, Any]:
        """The values of the parameters."""
        return {name: cell.value for name, cell in self.parameters.items()}

    @property
    def default_trainer_on_texts(self) -> bool:
        """Whether no trainer was given and the rows are plain texts, for which there is a trainer of their own."""
        return self.parameters["trainer"].source == DEFAULT and self.data.format == "text"

    def __repr__(self) -> str:
        return f"<Plan: {self.trainer} of {self.model.name}, {self.data.rows} rows, {self.steps} steps>"

    def _repr_html_(self) -> str:
        """The summary as notebooks show it."""
        from autotrain_llm.planning.summary import summary_html

        return summary_html(repr(self)[1:-1], self.summary())

    def as_json(self) -> dict[str, Any]:
        """The plan as `--format json` and run.json hold it."""
        document: dict[str, Any] = to_json(self)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """The inverse of `as_json`. Raises BadDocument, which names the key, if the document is not a plan of this version."""
        return from_json(cls, document, "plan")

    def summary(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """The summary for people: titled sections of rows (name, value, source or reason)."""
        from autotrain_llm.planning.summary import summary

        return summary(self)


def summary_of(document: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The summary of a plan as run.json holds it; empty if that is damaged or of another version."""
    try:
        return Plan.from_json(document).summary()
    except (TypeError, KeyError, ValueError, AttributeError):
        return []
