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


# A tokenizer with a token that the model's has not, in place of its last word.
ONE_NEW = """python -c "import json
whole = json.load(open('other/tokenizer.json'))
word, last = max(whole['model']['vocab'].items(), key=lambda pair: pair[1])
whole['model']['vocab'].pop(word), whole['model']['merges'].pop()
whole['added_tokens'].append({**whole['added_tokens'][-1], 'content': '<|thought|>', 'id': last})
json.dump(whole, open('other/tokenizer.json', 'w'))"
"""


@rule(
    "M195",
    WARNING,
    example=of_flags("--tokenizer other --peft", "--tokenizer other", before="cp -r MODEL other\n" + ONE_NEW),
)
def an_adapter_does_not_train_new_tokens(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--peft` with a `--tokenizer` that has tokens which the tokenizer in the model's folder has not.

    Why: an adapter leaves the embedding and the head as they are. What the model has in the rows of the new tokens is random, or whatever an
    unused row holds, and stays so: they are read as noise and never written.
    Fix: full fine-tuning, which trains all rows of the embedding, or a tokenizer without the new tokens.
    """
    if not config.peft or not config.tokenizer or model.tokenizer_folder in (None, context.tokenizer_folder):
        return
    new = context.models.tokens_beyond(model)
    if new:
        from autotrain_llm.models.checks.naming import first_of

        what = (
            f"--tokenizer {config.tokenizer} has {first_of(new)}, which the tokenizer in --model {model.name} has not"
        )
        yield Finding(
            f"{what}: --peft leaves the rows of the embedding as they are, so that new tokens are never learned",
            changes={"peft": False},
            otherwise="or a --tokenizer without them",
            parameters=("tokenizer", "peft"),
        )


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
