"""The longest allowed row: which of several parameters sets it, and why."""

from __future__ import annotations

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.record import Record
from autotrain_llm.trainers.sft import Sft

FLAGS = ("max_seq_length", "block_size", "model_max_length")


class Limit(Record):
    """The longest allowed row in tokens, the parameter that sets it, the reason in words, and whether the parameter is given."""

    tokens: int
    parameter: str
    why: str
    given: bool


def decide_limit(config: Config, context: int | None) -> Limit:
    """The first of max_seq_length, block_size and model_max_length that is given; else block_size's default, limited to the context.

    `context` is the model's longest input, None if it is not known; `--model-max-length` overrides it.
    """
    context = config.model_max_length or context
    max_seq_length = config[Sft].max_seq_length if config.applies("max_seq_length") else None
    candidates = {
        "max_seq_length": max_seq_length,
        "block_size": config.block_size if config.given("block_size") else None,
    }
    for name, tokens in candidates.items():
        if tokens == -1 and context:
            return Limit(context, name, f"--{name.replace('_', '-')} -1: the model's context", given=True)
        if tokens is not None and tokens > 0:
            return Limit(tokens, name, f"--{name.replace('_', '-')}", given=True)
    if config.model_max_length:
        return Limit(config.model_max_length, "model_max_length", "--model-max-length", given=True)
    default = config.block_size if config.block_size > 0 else PARAMS["block_size"].default
    if context is not None and context < default:
        return Limit(context, "block_size", f"the model's context, shorter than the default of {default}", given=False)
    return Limit(default, "block_size", "default", given=False)
