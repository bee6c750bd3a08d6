"""Which rows and columns the flags name: for training, for evaluation, and of a pair of answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import SFT, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer
from autotrain_llm.params.data import Data

if TYPE_CHECKING:  # reading models and rows takes longer to import than refusing a command does
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.planning.plan import Plan

OF_A_CHAT = f"{SFT.replace('MODEL', 'chats')}rows.jsonl"


@rule("P323", WARNING, refuses="--trainer generic --no-add-eos-token", accepts="--trainer generic --add-eos-token")
def documents_should_end(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--add-eos-token` is switched off where documents are concatenated.

    Why: without an end-of-text token between them, documents run into one another, and the model never learns to stop.
    Fix: leave it on.
    """
    if trainer.rows == "documents" and config.given("add_eos_token") and not config.add_eos_token:
        yield Finding(
            "with --no-add-eos-token, documents are concatenated without an end-of-text token, and the model never learns to stop",
            changes={"add_eos_token": True},
            parameters=("add_eos_token",),
        )


@rule(
    "P327",
    WARNING,
    refuses="--trainer sft --eval-dataset-path ./data/train.jsonl --data-path ./data/train.jsonl",
    accepts="--trainer sft --valid-split 0.1",
)
def evaluation_rows_should_not_be_the_training_rows(data: Data) -> Iterator[Finding]:
    """`--eval-dataset-path` is the same file as `--data-path`.

    Why: a model scores well on rows that it was trained on; such a score says nothing about new rows.
    Fix: hold out a share of the rows.
    """
    path, eval_path = data.data_path, data.eval_dataset_path
    if path and eval_path and os.path.abspath(path) == os.path.abspath(eval_path):  # noqa: PTH100 (takes any text)
        yield Finding(
            f"--eval-dataset-path and --data-path are the same: {path}",
            changes={"valid_split": 0.1, "eval_dataset_path": None},
            parameters=("eval_dataset_path", "data_path"),
        )


@rule(
    "P332",
    WARNING,
    refuses="--valid-split 0.1 --eval-dataset-path ./eval.jsonl",
    accepts="--eval-dataset-path ./eval.jsonl",
)
def rows_are_held_out_or_come_from_a_file(data: Data) -> Iterator[Finding]:
    """`--valid-split` holds out rows, and `--eval-dataset-path` names others.

    Why: there is one evaluation set. The rows of the file are used, and none are held out.
    Fix: keep one. Where `--eval-dataset-path` is a folder, `--valid-split` may name one of its splits.
    """
    split, path = data.valid_split, data.eval_dataset_path
    if split and path and _is_number(split):
        yield Finding(
            f"--valid-split {split} has no effect with --eval-dataset-path {path}, whose rows are used for evaluation",
            changes={"valid_split": None},
            parameters=("valid_split", "eval_dataset_path"),
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@rule(
    "P331",
    refuses="--trainer dpo --prompt-text-column chosen --text-column chosen --rejected-text-column rejected",
    accepts="--trainer dpo --prompt-text-column prompt --text-column chosen --rejected-text-column rejected",
)
def prompts_and_answers_have_columns_of_their_own(config: Config) -> Iterator[Finding]:
    """`--prompt-text-column` names the column of an answer.

    Why: every answer would be its own prompt.
    Fix: the column that holds the prompts.
    """
    prompt = config.prompt_text_column
    for name in ("text_column", "rejected_text_column"):
        if config.given("prompt_text_column") and prompt and config.value_of(name) == prompt and config.applies(name):
            yield Finding(
                f"--prompt-text-column {prompt} and {flag_of(name)} {prompt} name the same column",
                fix="--prompt-text-column <the column that holds the prompts>",
                parameters=("prompt_text_column", name),
            )


@rule(
    "D245",
    WARNING,
    example=Example(
        OF_A_CHAT,
        f"{OF_A_CHAT} --chat-template tokenizer",
        rows='{"prompt": "Hello", "completion": "Hi."}\n',
        before='cp -r MODEL chats\necho \'{"rows": "chat", "template": "tokenizer"}\' > chats/prompt_format.json',
    ),
)
def rows_are_written_as_the_model_was_trained(
    config: Config, trainer: Trainer, context: RunContext, plan: Plan
) -> Iterator[Finding]:
    """The model was trained on conversations that a chat template wrote, and these rows are plain text, or another template writes them.

    Why: without the template a prompt and its answer are joined as they are, with another end token. The model is trained on, or asked for, a form of text that
    it did not learn, and unlearns the one that it will be asked in. A run saves how its rows were written beside the model, in `prompt_format.json`.
    Fix: the template that the model was trained with, or rows of messages; `--chat-template none` says that plain text is meant.
    """
    if trainer.rows == "documents" or plan.model.folder is None or context.prepared is None:
        return
    from autotrain_llm.data.tokenize.prompt_format import CHAT, TEXT, read_prompt_format

    saved = read_prompt_format(Path(plan.model.folder))
    if saved is None or saved.rows != CHAT:
        return
    if config.chat_template:
        yield from _another_template(config, context)
        return
    if context.prepared.prompt_format.rows != TEXT:
        return
    yield Finding(
        f"{config.model} was trained on conversations, which a chat template wrote, and these rows are plain text, to which none is applied",
        guess={"chat_template": saved.template or "tokenizer"},
        otherwise="--chat-template none if that is meant",
        parameters=("model", "chat_template"),
    )


def _another_template(config: Config, context: RunContext) -> Iterator[Finding]:
    """The rows are written by another template than the one that the model's run has saved with its tokenizer."""
    chosen = context.prepared.template if context.prepared else None
    own = context.tokenizer.chat_template if context.tokenizer else None
    if chosen is None or own is None or chosen.source == own or config.tokenizer:
        return
    yield Finding(
        f"{config.model} was trained on conversations that its own chat template wrote, and --chat-template {config.chat_template} is another one",
        changes={"chat_template": "tokenizer"},
        otherwise="which is the template that it was trained with",
        parameters=("model", "chat_template"),
    )
