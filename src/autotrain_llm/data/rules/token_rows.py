"""Findings about rows that are tokens already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import as_flag, kind_of, listed
from autotrain_llm.declare.example import SFT, TWO, Example, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule

DATA = (DATA_PARAMETER,)
IDS = '{"input_ids": [5, 6, 7, 0]}\n{"input_ids": [8, 9, 0]}\n'
LABELLED = '{"input_ids": [5, 6, 7, 0], "labels": [-100, -100, 7, 0]}\n'


@rule(
    "D220",
    WARNING,
    example=of_rows('{"text": "One.", "input_ids": [5, 6]}\n{"text": "Two.", "input_ids": [7, 8]}\n', TWO),
)
def token_ids_beside_text_are_not_used(file: str, ids: Sequence[str]) -> Iterator[Finding]:
    """Rows have both text and token ids. The text is trained on.

    Why: text is tokenised with the model's own tokenizer; ids may be those of another one, or be truncated or masked in their own way.
    Fix: `--text-column` with the column of the ids, or leave the ids out with `--ignore-columns`.
    """
    what = f"{file}: {listed(ids)} {'hold' if len(ids) > 1 else 'holds'} token ids, and the rows have text, which is trained on instead"
    fix = f"--text-column {as_flag(ids[0])} trains on the ids; --ignore-columns {as_flag(*ids)} leaves them out without this warning"
    yield Finding(what, fix, ("text_column", "ignore_columns"), file=file)


@rule("D221", WARNING, example=of_rows('{"input_ids": [5, 6, 0], "labels": [5, 6]}\n' + LABELLED, LABELLED))
def lists_of_a_row_differ_in_length(column: str, items: int, ids: int) -> Iterator[Finding]:
    """A row of tokens has labels or a mask of another length than its ids. The row is left out.

    Why: it is not known which token each of them belongs to.
    Fix: one label, or one item of the mask, for each id.
    """
    what = f"{column} has {items} items and input_ids has {ids}; the row was left out"
    yield Finding(what, f"give {column} an item for each id", DATA)


@rule(
    "D222",
    WARNING,
    example=of_rows('{"input_ids": [5, 6, 7, 0], "labels": [6, 7, 0, -100]}\n' + LABELLED, LABELLED),
)
def labels_are_not_the_ids(column: str, is_shifted: bool, place: int, label: int, id: int) -> Iterator[Finding]:
    """The labels of a row of tokens are not its ids: they are shifted by one, or belong to another text. The row is left out.

    Why: a model predicts each token from those before it, and shifts the labels itself: labels[i] is -100 or input_ids[i]. Shifted labels
    would train it to predict the token after the next one.
    Fix: labels that repeat the ids where tokens are trained on, and are -100 elsewhere; or a `loss_mask` of 0 and 1.
    """
    if is_shifted:
        what = f"{column} is shifted: {label} stands at the place of {id}, one before its own; the row was left out"
        fix = f"write {column} unshifted: labels[i] = input_ids[i], or -100 for a token that is not trained on"
    else:
        what = f"{column} is {label} at place {place}, where input_ids is {id}; the row was left out"
        fix = f"{column} repeats input_ids, with -100 for tokens that are not trained on"
    yield Finding(what, fix, DATA)


@rule("D223", WARNING, example=of_rows('{"input_ids": [5, 6.5, 0]}\n' + IDS, IDS))
def the_values_of_a_token_row_are_not_allowed(
    column: str, case: str, value: Any = None, place: int = 0
) -> Iterator[Finding]:
    """A row of tokens holds something else than whole numbers, or a mask other numbers than 0 and 1. The row is left out.

    Why: ids are the numbers of tokens in the tokenizer, and a mask says of each token whether it is trained on.
    Fix: lists of whole numbers, and 0 or 1 (or true and false) in masks.
    """
    match case:
        case "no list":
            what, fix = f"{column} is no list of whole numbers", "write it as a list: [1, 2, 3]"
        case "no mask":
            what, fix = f"{column} is {value} at place {place}", "a mask holds 0 (not trained on) and 1 (trained on)"
        case _:
            shown_value = repr(value)[:40] if isinstance(value, int | float | str) else kind_of(value)
            what, fix = f"{column} is {shown_value} at place {place}, no whole number", "write whole numbers"
    yield Finding(f"{what}; the row was left out", fix, DATA)


@rule(
    "D224",
    WARNING,
    example=of_rows('{"input_ids": [5, 0, 6, 0], "position_ids": [0, 1, 0, 1]}\n' + IDS, IDS),
)
def several_texts_are_in_one_row(column: str, value: int) -> Iterator[Finding]:
    """Several texts are packed into one row of tokens, by its positions or its attention mask. The row is left out.

    Why: each text would attend to those before it in the row. Packing is done here, without padding and with each row kept apart.
    Fix: one text in each row.
    """
    why = f"{column} starts again at {value}" if not value else f"{column} counts texts ({value})"
    fix = "write one text in each row; rows are put together here without padding, each attending to itself alone"
    yield Finding(f"several texts are packed into the row ({why}); the row was left out", fix, DATA)


@rule("D225", example=of_rows('{"input_ids": [5, 6, 99999999]}\n', IDS))
def an_id_is_not_in_the_vocabulary(id: int, size: int) -> Iterator[Finding]:
    """A row of tokens has an id that the tokenizer doesn't have.

    Why: the rows were tokenised with another tokenizer, so that all their ids stand for other text here; or padding is written as a negative
    number.
    Fix: the model whose tokenizer made the ids, or its tokenizer with `--tokenizer`. Padding is taken out with an `attention_mask`.
    """
    what = f"the id {id} is not in the vocabulary of the tokenizer, which has the ids 0 to {size - 1}"
    if id < 0:
        fix = "write padding as the padding token, with an attention_mask of 0 there; -100 belongs into labels"
    else:
        fix = "--tokenizer with the tokenizer that made the ids, and a model that goes with it; or rows of text"
    yield Finding(what, fix, ("data_path", "tokenizer"))


@rule(
    "D226",
    WARNING,
    example=Example(SFT + "rows.jsonl --response-only-loss", SFT + "rows.jsonl", rows=IDS, good=IDS),
)
def flags_of_text_do_not_apply_to_tokens(flags: Sequence[str]) -> Iterator[Finding]:
    """Flags that say how text becomes tokens, with rows that are tokens already.

    Why: such rows are trained on as they are: which tokens, says a column of the row; no template is applied, and no token is added.
    Fix: remove the flags; `labels` or a `loss_mask` in the rows say which tokens are trained on.
    """
    names = tuple(flags)
    listed_flags = ", ".join(map(flag_of, names))
    what = f"{listed_flags} {'have' if len(names) > 1 else 'has'} no effect: the rows are tokens already, and are trained on as they are"
    yield Finding(what, None, names, changes=dict.fromkeys(names))


@rule("D227", WARNING, example=of_rows('{"input_ids": [5, 6, 0, PAD, PAD]}\n'.replace("PAD", "1") * 2, IDS))
def rows_are_trained_on_padding(pad: str) -> Iterator[Finding]:
    """Rows of tokens end or begin with padding, which is trained on because nothing says that it is padding.

    Why: the model would learn to write the padding token.
    Fix: an `attention_mask` with 0 for padding, labels of -100, or rows without padding, which need none here.
    """
    what = f"the row is padded with {pad}, and the padding is trained on"
    yield Finding(what, "add an attention_mask with 0 for padding, or leave the padding out", DATA)


@rule(
    "D228",
    example=Example(
        SFT.replace("MODEL", "scratch:1m") + "rows.jsonl",
        SFT.replace("MODEL", "scratch:1m") + "rows.jsonl --tokenizer MODEL",
        rows=IDS,
        good=IDS,
    ),
)
def a_new_tokenizer_needs_text(file: str, model: str) -> Iterator[Finding]:
    """A new model without `--tokenizer`, and rows that are tokens already.

    Why: the tokenizer of a new model is trained on the text of the rows, and these have none.
    Fix: `--tokenizer` with the tokenizer that made the ids.
    """
    what = f"--model {model} needs text to train its tokenizer on, and {file} holds token ids"
    yield Finding(what, "--tokenizer <the tokenizer that made the ids>", ("model", "tokenizer"), file=file)
