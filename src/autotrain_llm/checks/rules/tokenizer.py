"""A tokenizer other than the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import SFT, Example, of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.planning.trained_tokens import id_of, is_automatic, new_tokens, stands_against, trained_tokens

if TYPE_CHECKING:  # reading models takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.models.metadata import ModelMetadata

SHOWN = 8  # tokens that a finding lists
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


OTHER = "cp -r MODEL other\n" + ONE_NEW


@rule(
    "M195",
    WARNING,
    example=of_flags("--tokenizer other --peft --trainable-tokens none", "--tokenizer other --peft", before=OTHER),
)
def an_adapter_does_not_train_new_tokens(
    config: Config, model: ModelMetadata, context: RunContext
) -> Iterator[Finding]:
    """`--peft` with a `--tokenizer` that has tokens which the tokenizer in the model's folder has not, and whose rows of embedding and head are not trained.

    Why: what the model has in the rows of new tokens is random, or whatever an unused row holds. With an adapter they are trained by `--trainable-tokens`,
    which by default are the new ones. Where it names others or none, where the model is an adapter that has none of its own, and where the finding names what stands
    against it, new tokens are read as noise and never written.
    Fix: leave `--trainable-tokens` out; full fine-tuning, which trains all rows of the embedding; or a tokenizer without the new tokens.
    """
    new = new_tokens(config, context.models) if config.peft else []
    trained = trained_tokens(config, context.models)
    left = [token for token in new if context.tokenizer and context.tokenizer.id_of(token) not in trained]
    if not left:
        return
    from autotrain_llm.models.checks.naming import first_of

    standing = stands_against(config, model)
    changes: dict[str, Any] = {"peft": False}
    if model.is_adapter:
        why, parameter = "an adapter that is trained further gets no rows of new tokens", "model"
    elif standing is not None:
        why, parameter = standing.reason, standing.parameter
    else:
        why, parameter, changes = (
            "--trainable-tokens does not name them",
            "trainable_tokens",
            {"trainable_tokens": None},
        )
    yield Finding(
        f"--tokenizer {config.tokenizer} has {first_of(left)}, which the tokenizer in --model {model.name} has not: {why}, so that new tokens are "
        "never learned",
        changes=changes,
        otherwise="or a --tokenizer without them",
        parameters=("tokenizer", parameter),
    )


@rule("M196", example=of_flags("--peft --trainable-tokens '<|thought|>'", "--peft --trainable-tokens '<|im_end|>'"))
def a_trained_token_is_in_the_tokenizer(config: Config, model: ModelMetadata, context: RunContext) -> Iterator[Finding]:
    """`--trainable-tokens` names a text that is no token of the tokenizer, or an id that the embedding has no row for.

    Why: rows of the embedding are those of tokens. A text of several tokens has none of its own.
    Fix: a token as the tokenizer writes it, or its id.
    """
    if not config.peft or is_automatic(config) or context.tokenizer is None or model.is_adapter:
        return
    unknown = [text for text in config.trainable_tokens if id_of(text, context.tokenizer, model) is None]
    if not unknown:
        return
    from autotrain_llm.models.checks.naming import first_of

    own = [text for text in context.tokenizer.added_tokens() if text]
    others = [text for text in config.trainable_tokens if text not in unknown]
    yield Finding(
        f"--trainable-tokens names {first_of(unknown)}, which {'is no token' if len(unknown) == 1 else 'are no tokens'} of the tokenizer"
        + (f"; those that are never split are {', '.join(own[:SHOWN])}" if own else ""),
        changes={"trainable_tokens": ",".join(others) if others else None},
        parameters=("trainable_tokens",),
    )


@rule(
    "M197",
    example=Example(
        SFT.replace("MODEL", "./biased") + "rows.jsonl --peft --trainable-tokens 5",
        SFT.replace("MODEL", "./biased") + "rows.jsonl --peft",
        on="where ./biased has a head with a bias, as Phi has",
    ),
)
def what_trained_tokens_can_not_be_combined_with(config: Config, model: ModelMetadata) -> Iterator[Finding]:
    """`--trainable-tokens` with weights that are divided among processes, or with a head that has a bias.

    Why: PEFT copies the whole embedding to put the trained rows into it, of which a process has only a part; and it computes a head with trained rows without its
    bias, so that the adapter would be one of another model.
    Fix: `--shard none`; or leave `--trainable-tokens` out.
    """
    standing = stands_against(config, model) if config.peft and not model.is_adapter else None
    if standing is None or is_automatic(config) or not config.trainable_tokens:
        return
    yield Finding(
        f"--trainable-tokens {','.join(config.trainable_tokens)} can't be trained: {standing.reason}",
        changes={"trainable_tokens": None},
        parameters=("trainable_tokens", standing.parameter),
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
