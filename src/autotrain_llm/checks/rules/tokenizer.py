"""A tokenizer other than the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

MOVED_SHARE = 0.01  # of the tokens, so that a tokenizer with a few corrected tokens is not reported
# A tokenizer whose own tokens, without the added ones, have each other's ids.
MOVED_TOKENS = """python -c "import json
whole = json.load(open('other/tokenizer.json'))
words, added = whole['model']['vocab'], {token['content'] for token in whole['added_tokens']}
own = [word for word in words if word not in added]
words.update(zip(own, [words[word] for word in reversed(own)]))
json.dump(whole, open('other/tokenizer.json', 'w'))"
"""


@rule(
    "M188",
    WARNING,
    example=of_flags(
        "--tokenizer other", "--tokenizer same", before="cp -r MODEL other\ncp -r MODEL same\n" + MOVED_TOKENS
    ),
)
def a_tokenizer_should_give_the_ids_that_the_model_was_trained_with(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--tokenizer` gives tokens other ids than the tokenizer in the model's folder.

    Why: the model's embeddings belong to its own ids; with others every token starts with the embedding of another one. Tokens that are new, or
    missing, are not counted.
    Fix: remove `--tokenizer`.
    """
    if not config.tokenizer or context.tokenizer is None or model.tokenizer_folder in (None, context.tokenizer_folder):
        return
    share, first_moved = context.models.moved_tokens(model)
    if share >= MOVED_SHARE:
        yield Finding(
            f"--tokenizer {config.tokenizer} gives other ids than the tokenizer in --model {model.name}, which its weights were trained with: "
            f"{first_moved}",
            changes={"tokenizer": None},
            parameters=("tokenizer", "model"),
        )
