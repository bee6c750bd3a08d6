"""Weights of single tokens in the loss: their values, whether each is a token, and whether any row is trained on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.text import TokenWeights

if TYPE_CHECKING:  # reading rows takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

NAME = "token_weights"


@rule(
    "P346",
    refuses="--trainer sft --token-weights '{\"</think>\": 0}'",
    accepts="--trainer sft --token-weights '{\"</think>\": 10}'",
)
def a_weight_of_a_token_is_a_positive_number(weights: TokenWeights, trainer: Trainer) -> Iterator[Finding]:
    """A weight in `--token-weights` is no number above 0.

    Why: with weight 0 a token would not be trained on, and with a negative one the model would be trained not to write it.
    Fix: a number above 0; 1 is the weight of all other tokens.
    """
    if not trainer.reads(NAME):
        return
    wrong = {token: weight for token, weight in (weights.token_weights or {}).items() if not _is_weight(weight)}
    if wrong:
        shown = ", ".join(f"{token!r}: {plain(weight)}" for token, weight in wrong.items())
        yield Finding(
            f"--token-weights must be numbers above 0, got {shown}",
            fix="--token-weights '{\"</think>\": 10}', for example",
            parameters=(NAME,),
        )


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight) and weight > 0


@rule(
    "P347",
    example=of_flags("--token-weights '{\"<think>\": 10}'", "--token-weights '{\".\": 10}'"),
)
def a_weighted_token_is_one_token(config: Config, trainer: Trainer, context: RunContext) -> Iterator[Finding]:
    """A text in `--token-weights` is not one token of the tokenizer, or two of them are the same token.

    Why: the weight is that of one token. The parts of a longer text also occur elsewhere, and would weigh more there too.
    Fix: a text that the tokenizer has as one token, or a tokenizer that has this one.
    """
    chosen = config.token_weights if trainer.reads(NAME) else None
    tokenizer = context.tokenizer
    if not chosen or tokenizer is None:
        return
    ids = {text: tokenizer.single_token(text) for text in chosen}
    wrong = [f"{text!r} is {_parts(text, tokenizer)}" for text, token_id in ids.items() if token_id is None]
    texts = {token_id: text for text, token_id in ids.items()}
    repeated = [text for text, token_id in ids.items() if token_id is not None and texts[token_id] != text]
    wrong += [f"{text!r} and {texts[ids[text]]!r} are the same token" for text in repeated]
    if wrong:
        left = {text: weight for text, weight in chosen.items() if ids[text] is not None and text not in repeated}
        yield Finding(
            f"--token-weights weights single tokens, and {'; '.join(wrong)}",
            guess={NAME: left or None},
            otherwise="or a --tokenizer with that token" if None in ids.values() else "",
            parameters=(NAME,),
        )


def _parts(text: str, tokenizer: Tokenizer) -> str:
    (ids,) = tokenizer.encode_batch([text])
    return f"{len(ids)} ({', '.join(repr(tokenizer.decode([token_id])) for token_id in ids)})"


@rule(
    "P348",
    WARNING,
    example=of_flags("--token-weights '{\"?\": 10}'", "--token-weights '{\".\": 10}'"),
)
def a_weighted_token_is_trained_on(config: Config, trainer: Trainer, context: RunContext) -> Iterator[Finding]:
    """No row is trained on a token of `--token-weights`.

    Why: its weight has no effect. The rows may not have it, or only in prompts; or they have its text as other tokens, such as `think`
    where the token is ` think`, with a space.
    Fix: look at the rows with `--preview-data 3`, which shows their tokens and which of them are trained on.
    """
    from autotrain_llm.data.rows import TokenRows

    chosen = config.token_weights if trainer.reads(NAME) else None
    if not chosen or context.tokenizer is None or context.prepared is None:
        return
    rows = context.prepared.train
    assert isinstance(rows, TokenRows)
    ids = {text: context.tokenizer.single_token(text) for text in chosen}
    trained = rows.trained_ids()
    absent = [text for text, token_id in ids.items() if token_id is not None and token_id not in trained]
    if absent:
        yield Finding(
            f"--token-weights has no effect for {', '.join(map(repr, absent))}: no row is trained on "
            f"{'it' if len(absent) == 1 else 'them'}",
            guess={NAME: {text: weight for text, weight in chosen.items() if text not in absent} or None},
            parameters=(NAME,),
        )


@rule(
    "P349",
    refuses="--trainer sft --engine trl --token-weights '{\"</think>\": 10}'",
    accepts="--trainer sft --token-weights '{\"</think>\": 10}'",
)
def the_trl_engine_weights_all_tokens_alike(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--token-weights` with `--engine trl`.

    Why: TRL's trainer computes its own loss, in which every token weighs the same.
    Fix: the native engine.
    """
    if trainer.reads(NAME) and config.token_weights and config.engine == "trl":
        yield Finding(
            "--engine trl weights all tokens alike: TRL's loss takes no --token-weights",
            changes={"engine": None},
            parameters=("engine", NAME),
        )
