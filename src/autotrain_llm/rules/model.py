"""What was asked for against what the model's own files say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config import Config
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.facts.world import World
    from autotrain_llm.models.metadata import ModelFacts


@rule("M171")
def a_row_is_not_longer_than_the_context(config: Config, model: ModelFacts, world: World) -> Iterator[Finding]:
    """A given length is longer than what the model was made for.

    Why: positions beyond the context were never learnt, and some models have none there at all; the libraries train on in silence.
    A warning only where the model stretches its positions (`rope_scaling`).
    Fix: the model's context.
    """
    limit, context = world.limit, world.context_length
    if not limit.given or config.model_max_length or context is None or limit.tokens <= context:
        return
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the model's context of {context} "
        "(max_position_embeddings in its config.json)",
        changes={limit.parameter: context},
        parameters=(limit.parameter,),
        severity=WARNING if model.rope_scaling else "error",
    )


@rule("M172", WARNING)
def a_row_should_not_be_longer_than_the_tokenizer_says(
    config: Config, model: ModelFacts, world: World
) -> Iterator[Finding]:
    """A given length is longer than the tokenizer's `model_max_length`.

    Why: whoever uses the finished model with this tokenizer will have longer inputs cut at that length.
    Fix: that length, or `--model-max-length` to say that the tokenizer is wrong.
    """
    limit, tokenizer = world.limit, world.tokenizer
    longest = tokenizer.model_max_length if tokenizer else None
    if not limit.given or config.model_max_length or longest is None or limit.tokens <= longest:
        return
    if world.context_length is not None and limit.tokens > world.context_length:
        return  # the context says it already
    yield Finding(
        f"{flag_of(limit.parameter)} {limit.tokens} is longer than the tokenizer's model_max_length of {longest}",
        changes={limit.parameter: longest},
        parameters=(limit.parameter,),
    )


@rule("M173", WARNING)
def packing_needs_rows_that_are_kept_apart(config: Config, model: ModelFacts, world: World) -> Iterator[Finding]:
    """`--packing` with an architecture that is laid out padded.

    Why: in a padded row its attention would mix the short rows that share it.
    Fix: leave it out; the value is ignored.
    """
    from autotrain_llm.models.architectures import keeps_rows_apart

    apart, reason = keeps_rows_apart(model.config or {})
    if config.applies("packing") and config.packing and not apart and not world.is_scratch:
        yield Finding(f"--packing is ignored: {reason}", changes={"packing": None}, parameters=("packing",))
