"""A model's tokenizer, and whether its tokens fit the embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autotrain_llm.declare.example import of_copy
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.models.checks.naming import first_of, label, path_of
from autotrain_llm.models.checks.roles import LANGUAGE_MODEL
from autotrain_llm.models.locate import read_json
from autotrain_llm.models.metadata import ModelMetadata, highest_token_id, tokens_of_config


@rule("M131", blocks="model", example=of_copy("rm changed/tokenizer.json"))
def a_model_has_a_tokenizer(
    metadata: ModelMetadata, parameter: str = "model", tokenizer: str | None = None
) -> Iterator[Finding]:
    """A model that was saved without its tokenizer, and no `--tokenizer` in its place.

    Why: rows can't be tokenized.
    Fix: `--tokenizer` with the model it was trained from.
    """
    if metadata.config is None or tokenizer or metadata.tokenizer_files or metadata.custom_code.get("AutoTokenizer"):
        return
    yield Finding(
        f"{label(metadata, parameter)} has no tokenizer: there is neither a tokenizer.json nor a vocabulary in its folder",
        fix="--tokenizer <folder or Hub id of the model it was trained from>",
        parameters=(parameter, "tokenizer") if parameter == "model" else (parameter,),
    )


@rule(
    "M132",
    blocks="model",
    roles=(LANGUAGE_MODEL,),
    example=of_copy("""sed -i.old 's/"id": 3,/"id": 3000,/' changed/tokenizer.json"""),
)
def every_token_has_an_embedding(
    metadata: ModelMetadata,
    parameter: str = "model",
    tokenizer: str | None = None,
    tokenizer_folder: Path | None = None,
) -> Iterator[Finding]:
    """A tokenizer with token ids that are not in the model's embedding.

    Why: the first text with such a token would fail.
    Fix: the tokenizer that the model was trained with, or resize the model's embedding.
    """
    if tokenizer is not None and tokenizer_folder is None:
        return  # of the tokenizer that was named nothing is known
    folder, rows = tokenizer_folder or metadata.tokenizer_folder, metadata.embedding_rows
    highest = highest_token_id(folder) if folder and rows else None
    if rows is None or highest is None or folder is None:
        return
    new = tokens_of_config(folder)
    if highest < rows <= highest + len(new):
        yield Finding(
            f"{label(metadata, parameter)}: tokenizer_config.json names {first_of(new)} ({_kinds_of(new, folder)}), which is not in "
            f"tokenizer.json: it would be a new token, and all {rows} rows of the embedding are taken",
            fix="name an existing token, or resize the model's embedding and save it again",
            parameters=(parameter,),
            file=path_of(folder, "tokenizer_config.json"),
        )
    elif highest >= rows:
        if parameter == "teacher_model":  # one with more rows would still have other tokens
            fix = "a --teacher-model with the tokenizer of --model"
        else:
            fix = "use the tokenizer that the model was trained with, or resize the model's embedding and save it again"
        whose = "its tokenizer" if tokenizer_folder is None else f"the tokenizer in {tokenizer_folder} (--tokenizer)"
        yield Finding(
            f"{label(metadata, parameter)}: {whose} has ids up to {highest}, but the embedding has {rows} rows "
            f"(vocab_size {metadata.vocab_size}): the first text with a higher id would fail",
            fix=fix,
            parameters=(parameter,),
            file=path_of(folder, "tokenizer.json"),
        )


def _kinds_of(tokens: Sequence[str], folder: Path) -> str:
    """The keys of tokenizer_config.json that name these tokens: `eos_token`."""
    config = read_json(folder / "tokenizer_config.json") or {}
    contents = {key: value.get("content") if isinstance(value, dict) else value for key, value in config.items()}
    return ", ".join(key for key in contents if key.endswith("_token") and contents[key] in tokens)
