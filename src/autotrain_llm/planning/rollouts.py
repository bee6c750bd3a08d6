"""Decide the rewards of a policy's answers, and how many answers are sampled at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.kinds import FUNCTION, MISSING_END, MODEL

if TYPE_CHECKING:  # checks of flags don't load the plan's dataclasses
    from autotrain_llm.models.metadata import ModelMetadata
    from autotrain_llm.planning.plan import RewardPlan

VALUE = 4  # bytes
CACHE_SHARE = 0.1  # of the device's memory, for the KV cache of sampling
MOST_AT_ONCE = {
    True: 1024,
    False: 256,
}  # sequences: with CUDA, where a decoding step takes as long for few as for many, and without
UNKNOWN = 64  # sequences at once if the model's sizes are not known


def reward_models(config: Config) -> tuple[str, ...]:
    """The models that `--rl-reward-model-path` names; none if the trainer does not sample answers."""
    return tuple(config.rl_reward_model_path or ()) if config.trainer_spec.samples else ()


def reward_functions(config: Config) -> tuple[str, ...]:
    """The functions that `--rl-reward-fn` names; none if the trainer does not sample answers."""
    return tuple(config.rl_reward_fn or ()) if config.trainer_spec.samples else ()


def answers_of_step(config: Config, processes: int) -> int:
    """Answers of one optimizer step: `--global-batch`, or `--rl-mini-batch-size`, unless only `--gradient-accumulation` was given, which has no
    default here."""
    if config.global_batch:
        return config.global_batch
    if config.gradient_accumulation and not config.given("rl_mini_batch_size"):
        return config.batch_size * config.gradient_accumulation * processes
    return config.rl_mini_batch_size


def rewards_of(config: Config, context: RunContext) -> tuple[RewardPlan, ...]:
    """The terms of the reward: models, functions, and the penalty for an answer without an end token."""
    from autotrain_llm.planning.plan import RewardPlan

    sources = [(MODEL, source) for source in reward_models(config)]
    sources += [(FUNCTION, source) for source in reward_functions(config)]
    rewards: list[RewardPlan] = []
    for index, (kind, source) in enumerate(sources):
        as_turns: bool | None = None
        outputs: tuple[str, ...] = ()
        if kind == MODEL:
            metadata = context.models.secondary("rl_reward_model_path", source)
            as_turns = metadata is not None and scores_turns(metadata, config)
            outputs = metadata.score_names if metadata is not None and metadata.is_classifier else ()
        whole: list[tuple[int | None, str]] = [(None, _name_of(kind, source))]
        for output, label in enumerate(outputs) if len(outputs) > 1 else whole:
            name = _unique(label, [reward.name for reward in rewards])
            weight = _weight(config.rl_reward_weights, index, name)
            rewards.append(
                RewardPlan(kind=kind, source=source, as_turns=as_turns, name=name, weight=weight, output=output)
            )
    if config.rl_missing_end_penalty:
        penalty = -config.rl_missing_end_penalty
        rewards.append(RewardPlan(kind=MISSING_END, source=None, name=MISSING_END, weight=penalty))
    return tuple(rewards)


def named_weights(weights: Sequence[str]) -> dict[str, str]:
    """Weights that are given by the names of rewards, `helpfulness=0.7`; empty if they are numbers alone."""
    parts = [weight.rpartition("=") for weight in weights]
    return {name.strip(): weight.strip() for name, _, weight in parts if name.strip()}


def _weight(weights: Sequence[str] | None, index: int, name: str) -> float:
    """The weight of a reward: that of its name, else of its source; 0 where others are named, and 1 where no weights are given."""
    if not weights:
        return 1.0
    named = named_weights(weights)
    if named:
        return float(named.get(name, 0.0))
    return float(weights[index]) if index < len(weights) else 1.0


def _name_of(kind: str, source: str) -> str:
    """A short name of a model or a function."""
    return source.rpartition(":")[2] if kind == FUNCTION else Path(source.partition("@")[0]).name or source


def _unique(name: str, names: list[str]) -> str:
    """The name, numbered if another reward of the run has it."""
    unique, count = name, 2
    while unique in (*names, MISSING_END):
        unique, count = f"{name}_{count}", count + 1
    return unique


def scores_turns(metadata: ModelMetadata, config: Config) -> bool:
    """Whether the reward model reads chat turns: as its own run.json says, else as the policy's prompts are rendered."""
    from autotrain_llm.context.output_dir import CHECKPOINTS
    from autotrain_llm.data.chat.template import NONE
    from autotrain_llm.models.locate import read_json

    folder = metadata.located.folder
    if folder is not None:
        root = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder
        run = read_json(root / "run.json") if (root / "run.json").is_file() else None
        template = (((run or {}).get("plan") or {}).get("parameters") or {}).get("chat_template")
        if isinstance(template, dict):
            return template.get("value") not in (None, NONE)
    return config.chat_template not in (None, NONE)


def sequences_at_once(config: Config, context: RunContext) -> int:
    """How many answers are sampled together: as many as fit into CACHE_SHARE of the device's memory."""
    bytes_of_token = _cached_bytes(context)
    if bytes_of_token is None or context.prepared is None:
        return UNKNOWN
    longest = longest_sequence(config, context)
    assert longest is not None
    most = MOST_AT_ONCE[context.machine.has_cuda]
    return max(1, min(most, int(CACHE_SHARE * context.machine.device_memory / (bytes_of_token * longest))))


def longest_sequence(config: Config, context: RunContext) -> int | None:
    """The tokens of the longest prompt with the longest answer; None if the prompts are not known."""
    if context.prepared is None:
        return None
    lengths = [int(rows.lengths.max()) for rows in (context.prepared.train, context.prepared.valid) if len(rows)]
    return max(lengths, default=0) + config.rl_max_new_tokens


def _cached_bytes(context: RunContext) -> int | None:
    """Bytes of one token in the KV cache; None if the model's sizes are not known."""
    metadata, shape = context.model, context.shape or {}

    def size(*names: str) -> int | None:
        chosen = next((shape[name] for name in names if name in shape), None)
        return chosen if chosen is not None or metadata is None else metadata.number(*names)

    layers, hidden = size("num_hidden_layers", "n_layer"), size("hidden_size", "n_embd")
    heads = size("num_attention_heads", "n_head")
    if not layers or not hidden or not heads:
        return None
    of_head = size("head_dim") or hidden // heads
    return 2 * VALUE * layers * (size("num_key_value_heads") or heads) * of_head
