"""Decide of which tokens an adapter trains the rows of embedding and head, besides its own matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.record import Record
from autotrain_llm.params.lora import AUTO
from autotrain_llm.planning.sharding import is_divided, source_of_sharding

if TYPE_CHECKING:
    from autotrain_llm.context.model_context import ModelContext
    from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
    from autotrain_llm.models.metadata import ModelMetadata

HEAD_BIASES = ("lm_head.bias", "embed_out.bias")


class Standing(Record):
    """What rows of the embedding can't be trained with: a parameter, and why in words."""

    parameter: str
    reason: str


def trained_tokens(config: Config, models: ModelContext) -> tuple[int, ...]:
    """The ids, in order; none without an adapter, and an adapter that is trained further keeps its own.

    `auto` are the tokens of `--tokenizer` that the tokenizer in the model's folder has not, unless something stands against them.
    """
    model = models.model if config.peft else None
    if model is None:
        return ()
    if model.is_adapter:
        return own_tokens(model.adapter_config or {})
    if not is_automatic(config):
        named = [id_of(text, models.tokenizer, model) for text in config.trainable_tokens]
        return tuple(sorted({index for index in named if index is not None}))
    new = new_tokens(config, models)
    if not new or models.tokenizer is None or stands_against(config, model) is not None:
        return ()
    return tuple(sorted(index for token in new if (index := models.tokenizer.id_of(token)) is not None))


def is_automatic(config: Config) -> bool:
    return tuple(config.trainable_tokens) == (AUTO,)


def new_tokens(config: Config, models: ModelContext) -> list[str]:
    """The tokens that the tokenizer in the model's folder has not."""
    model = models.model
    if not config.tokenizer or model is None or model.tokenizer_folder in (None, models.tokenizer_folder):
        return []
    return models.tokens_beyond(model)


def id_of(text: str, tokenizer: Tokenizer | None, model: ModelMetadata) -> int | None:
    """The id that a text names: a token, or a number that is one; None if there is no such row of the embedding."""
    if text.isdecimal():
        index = int(text)
    elif (known := tokenizer.id_of(text) if tokenizer else None) is not None:
        index = known
    else:
        return None
    return index if model.embedding_rows is None or index < model.embedding_rows else None


def own_tokens(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids of which an adapter has rows of its own."""
    indices = settings.get("trainable_token_indices")
    lists: Iterable[Any] = indices.values() if isinstance(indices, dict) else [indices]
    return tuple(sorted({index for ids in lists if isinstance(ids, list) for index in ids if isinstance(index, int)}))


def stands_against(config: Config, model: ModelMetadata) -> Standing | None:
    """What rows of the embedding can't be trained with; None if nothing stands against them."""
    if is_divided(config):
        return Standing(
            source_of_sharding(config), "of weights that are divided among processes no single rows are trained"
        )
    if config.engine != "native":
        return Standing("engine", "TRL's trainers have not been tried with rows of their own")
    if any(name in model.tensors for name in HEAD_BIASES) and not config.trainer_spec.trains_a_scorer:
        return Standing(
            "model", f"the head of {model.name} has a bias, which PEFT leaves out where it trains rows of the head"
        )
    return None
