"""Decide how a policy's answers are sampled, and what scores them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.trainers.ppo import CORRECTED, OF_REWARD, SHARED

if TYPE_CHECKING:
    from autotrain_llm.models.metadata import ModelMetadata

MODEL, FUNCTION, MISSING_END = "model", "function", "missing_end"
VALUE = 4  # bytes
CACHE_SHARE = 0.1  # of the device's memory, for what answers that are being written have read
MOST_AT_ONCE = {True: 1024, False: 256}  # with CUDA, where a step takes as long for few, and without
UNKNOWN = 64  # sequences at once of a model whose sizes its files don't tell


def decide_rollouts(config: Config, context: RunContext) -> dict[str, Any] | None:
    """The plan's `rollouts`; None where the run has none."""
    if not config.trainer_spec.samples:
        return None
    return {
        "sampling": {
            "max_new_tokens": config.rl_max_new_tokens,
            "temperature": config.rl_temperature,
            "top_k": config.rl_top_k,
            "top_p": config.rl_top_p,
            "backend": config.rl_generation,
            "batch": sequences_at_once(config, context),
            "longest": longest_sequence(config, context),
        },
        "rewards": rewards_of(config, context),
    }


def reward_models(config: Config) -> tuple[str, ...]:
    """The models that `--rl-reward-model-path` names, where the trainer reads it."""
    return tuple(config.rl_reward_model_path or ()) if config.trainer_spec.samples else ()


def reward_functions(config: Config) -> tuple[str, ...]:
    """The functions that `--rl-reward-fn` names, where the trainer reads it."""
    return tuple(config.rl_reward_fn or ()) if config.trainer_spec.samples else ()


def rewards_of(config: Config, context: RunContext) -> list[dict[str, Any]]:
    """What scores an answer: models, functions, and what is taken off where an answer doesn't end."""
    found: list[dict[str, Any]] = []
    for source in reward_models(config):
        facts = context.secondary_model("rl_reward_model_path", source)
        found.append({"kind": MODEL, "source": source, "as_turns": facts is not None and scores_turns(facts, config)})
    found += [{"kind": FUNCTION, "source": source} for source in reward_functions(config)]
    weights = [float(weight) for weight in config.rl_reward_weights or ()] or [1.0] * len(found)
    names: list[str] = []
    for entry, weight in zip(found, weights, strict=False):
        names.append(_named(entry, names))
        entry |= {"name": names[-1], "weight": weight}
    if config.rl_missing_end_penalty:
        found.append(
            {"kind": MISSING_END, "source": None, "name": MISSING_END, "weight": -config.rl_missing_end_penalty}
        )
    return found


def _named(entry: dict[str, Any], taken: list[str]) -> str:
    """A short name that no other reward has."""
    source = str(entry["source"])
    name = source.rpartition(":")[2] if entry["kind"] == FUNCTION else Path(source.partition("@")[0]).name or source
    count = 2
    own = name
    while own in (*taken, MISSING_END):
        own, count = f"{name}_{count}", count + 1
    return own


def scores_turns(facts: ModelMetadata, config: Config) -> bool:
    """Whether the reward model was trained on texts written as turns: as its own run says, else as the policy sees its prompts."""
    from autotrain_llm.context.output_dir import CHECKPOINTS
    from autotrain_llm.data.chat.template import NONE
    from autotrain_llm.models.locate import read_json

    folder = facts.located.folder
    if folder is not None:
        root = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder
        run = read_json(root / "run.json") if (root / "run.json").is_file() else None
        asked = (((run or {}).get("plan") or {}).get("parameters") or {}).get("chat_template")
        if isinstance(asked, dict):
            return asked.get("value") not in (None, NONE)
    return config.chat_template not in (None, NONE)


def sequences_at_once(config: Config, context: RunContext) -> int:
    """How many answers are written together: what fits into a share of the device's memory."""
    each = _cached_bytes(context)
    if each is None or context.prepared is None:
        return UNKNOWN
    longest = longest_sequence(config, context)
    assert longest is not None
    most = MOST_AT_ONCE[context.machine.has_cuda]
    return max(1, min(most, int(CACHE_SHARE * context.machine.device_memory / (each * longest))))


def longest_sequence(config: Config, context: RunContext) -> int | None:
    """The tokens of the longest prompt with the longest answer; None where the prompts are not known."""
    if context.prepared is None:
        return None
    lengths = [int(rows.lengths.max()) for rows in (context.prepared.train, context.prepared.valid) if len(rows)]
    return max(lengths, default=0) + config.rl_max_new_tokens


def _cached_bytes(context: RunContext) -> int | None:
    """Bytes that a token which was read takes."""
    facts, shape = context.model, context.shape or {}

    def size(*names: str) -> int | None:
        known = next((shape[name] for name in names if name in shape), None)
        return known if known is not None or facts is None else facts.number(*names)

    layers, hidden = size("num_hidden_layers", "n_layer"), size("hidden_size", "n_embd")
    heads = size("num_attention_heads", "n_head")
    if not layers or not hidden or not heads:
        return None
    of_head = size("head_dim") or hidden // heads
    return 2 * VALUE * layers * (size("num_key_value_heads") or heads) * of_head


def rewards_in_words(rollouts: dict[str, Any]) -> str:
    """What scores the answers, in a line."""
    words = []
    for reward in rollouts["rewards"]:
        if reward["kind"] == MISSING_END:
            words.append(f"{-reward['weight']:g} off where an answer doesn't end")
        else:
            times = "" if reward["weight"] == 1 else f"{reward['weight']:g} x "
            words.append(f"{times}{reward['source']}")
    return ", ".join(words)


def values_in_words(rollouts: dict[str, Any], adapter: dict[str, Any] | None) -> str:
    """What estimates the rewards still to come, in a line."""
    kind = rollouts["rl_value_model"]
    if kind == SHARED:
        return "a new head on the policy's last layer"
    source = next((reward["source"] for reward in rollouts["rewards"] if reward["kind"] == MODEL), None)
    if kind == CORRECTED:
        return f"{source}, corrected by a new head on the policy's last layer"
    how = "with an adapter of its own" if adapter else "trained whole"
    if kind == OF_REWARD:
        return f"a copy of {source} with its score head, {how}"
    return f"a copy of the model with a new head, {how}"
