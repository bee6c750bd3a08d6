"""Findings about rows beside each other: evaluation rows, and rows that occur more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import parameter_of
from autotrain_llm.declare.example import CHAT, of_flags, of_rows
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plural

DATA = (DATA_PARAMETER,)
HELD_OUT = "--eval-dataset-path held_out.jsonl"


def _prose(count: int) -> list[str]:
    """Texts that share no five words in a row: each word is two syllables, drawn by a generator of remainders."""
    syllables = ["ka", "lo", "mi", "ne", "pu", "ra", "se", "to", "vi", "wo", "xa", "yu", "ze", "bi", "da", "fo"]
    drawn, texts = 1, []
    for _ in range(count):
        words = []
        for _ in range(40):
            drawn = (drawn * 1103515245 + 12345) % 2**31
            words.append(syllables[(drawn >> 12) % 16] + syllables[(drawn >> 20) % 16])
        texts.append(" ".join(words))
    return texts


TEXTS = _prose(30)
STORIES = "".join(f'{{"text": "{text}"}}\n' for text in TEXTS)
NEARLY = "".join(f'{{"text": "{text} So."}}\n' for text in TEXTS[:15])


@rule(
    "D121",
    example=of_flags(
        HELD_OUT, HELD_OUT, wrong="touch held_out.jsonl", right="""echo '{"text": "Three."}' > held_out.jsonl"""
    ),
)
def no_row_can_be_evaluated(source: str, name: str, parameter: str) -> Iterator[Finding]:
    """The evaluation data has no usable row.

    Why: without rows there is nothing to evaluate the model on.
    Fix: a file whose rows hold text.
    """
    message = f"{source}: {name} is empty: no row of it can be evaluated"
    yield Finding(message, "give a file whose rows hold text", (parameter,), file=name)


@rule("D122", WARNING, example=of_flags("--eval-dataset-path rows.jsonl", "--valid-split 0.5"))
def evaluation_rows_are_trained_on(
    flag: str, file: str, shared: int, rows: int, trained_file: str, trained_row: int
) -> Iterator[Finding]:
    """Rows of the evaluation data also occur in the training data (leakage).

    Why: scores on them are inflated: they say nothing about new data.
    Fix: delete the shared rows from the evaluation data.
    """
    what = (
        f"is also row {trained_row} of {trained_file}, which is trained on: {shared} of {plural(rows, 'evaluation row')} ({flag}) also occur in the "
        "training data (leakage), which inflates scores"
    )
    yield Finding(what, f"delete the shared rows from {file}", (parameter_of(flag),))


@rule("D123", WARNING, example=of_rows('{"text": "One."}\n' * 40))
def many_rows_are_duplicates(name: str, repeated: int, rows: int, most: int) -> Iterator[Finding]:
    """A large share of the rows repeats earlier ones exactly.

    Why: the model memorises rows that are repeated often.
    Fix: deduplicate the data.
    """
    what = f"an exact duplicate of an earlier row; so are {repeated} of {rows} rows (one occurs {most} times)"
    yield Finding(what, f"deduplicate {name}", DATA)


@rule("D129", example=of_flags("--valid-split 5", "--valid-split 1"))
def valid_split_asks_for_too_many_rows(
    valid_split: str, rows: int, all_the_same: bool, share: float | None, is_more: bool
) -> Iterator[Finding]:
    """`--valid-split` asks for more rows than can be held out for evaluation.

    Why: training and evaluation both need rows, and rows with the same content are kept together.
    Fix: a smaller share or number, or `--eval-dataset-path` with a separate file.
    """
    # `share` is one that is possible; where it holds out more rows than were asked for, only the user knows whether that is meant.
    message = f"--valid-split {valid_split} can't be held out of {plural(rows, 'row')}"
    message += ", which are all the same" if all_the_same else ""
    changes = {} if share is None else {"valid_split": share}
    fix = "give a separate file of evaluation rows: --eval-dataset-path ./eval.jsonl"
    certain, guess = ({}, changes) if is_more else (changes, {})
    yield Finding(message, fix if not changes else None, ("valid_split",), changes=certain, guess=guess)


@rule(
    "D134",
    WARNING,
    example=of_flags(
        HELD_OUT,
        HELD_OUT,
        CHAT,
        wrong="""echo '{"text": "Three."}' > held_out.jsonl""",
        right="""echo '{"prompt": "Bye", "completion": "See you"}' > held_out.jsonl""",
    ),
)
def evaluation_rows_have_another_format(
    eval_path: str, eval_format: str, path: str, train_format: str
) -> Iterator[Finding]:
    """The evaluation rows are plain text and the training rows have answers, or the other way round.

    Why: the loss on one kind says little about the other.
    Fix: write both in the same format.
    """
    message = (
        f"--eval-dataset-path {eval_path} is read as {eval_format}, and --data-path {path} as {train_format}: "
        "the evaluation loss would not measure what is trained"
    )
    yield Finding(message, f"write both in one format: {train_format}", ("eval_dataset_path", "data_path"))


@rule("D161", WARNING, example=of_rows(STORIES + NEARLY, STORIES))
def many_rows_are_near_duplicates(earlier: int, duplicates: int, rows: int) -> Iterator[Finding]:
    """A large share of the rows are near duplicates of earlier ones: at least 90 % of their shingles (five words in a row) are the same.

    Why: text that occurs in many rows is trained on that many times, and the model memorises it. Shingles that more than a tenth of the rows
    contain, such as a common instruction, are not compared; nor are rows with fewer than twenty other shingles. Of more than 4000 rows, 4000
    are compared, sampled with the seed.
    Fix: keep one row of each group of near duplicates.
    """
    what = f"a near duplicate of row {earlier} (at least 90 % of their five-word sequences are the same)"
    others = f"{duplicates} of {rows} rows are near duplicates of earlier ones"
    yield Finding(f"{what}; {others}", "keep one row of each group of near duplicates", DATA)


@rule(
    "D162",
    WARNING,
    example=of_flags(
        HELD_OUT,
        HELD_OUT,
        STORIES,
        wrong="tail -n 3 rows.jsonl | sed 's/\"}/ So.\"}/' > held_out.jsonl",
        right="""echo '{"text": "Three."}' > held_out.jsonl""",
    ),
)
def evaluation_rows_are_near_duplicates_of_training_rows(
    flag: str, file: str, trained_file: str, trained_row: int, duplicates: int, rows: int
) -> Iterator[Finding]:
    """At least 1 % of the evaluation rows are near duplicates of training rows, compared as for D161.

    Why: scores on them are inflated: they say little about new data.
    Fix: delete such rows from the evaluation data.
    """
    what = (
        f"is nearly the same as row {trained_row} of {trained_file}, which is trained on: {duplicates} of {plural(rows, 'evaluation row')} ({flag}) are "
        "near duplicates of training rows, which inflates scores"
    )
    yield Finding(what, f"delete such rows from {file}", (parameter_of(flag),))


@rule(
    "D189",
    WARNING,
    example=of_rows(
        '{"text": "One.", "split": "train"}\n{"text": "Two.", "split": "test"}\n',
        '{"text": "One.", "split": "train"}\n{"text": "Two.", "split": "train"}\n',
    ),
)
def rows_belong_to_another_split(file: str, column: str, splits: Sequence[str]) -> Iterator[Finding]:
    """Some rows say in a column `split` that they are for validation or for a test, and all rows are trained on.

    Why: what is trained on can't be evaluated on any more.
    Fix: move these rows to a file of their own, and name it with `--eval-dataset-path`.
    """
    what = f"{file}: the column {column} says of some rows that they belong to {', '.join(splits)}; all rows are trained on"
    yield Finding(what, "move these rows to a file of their own, and --eval-dataset-path with it", DATA, file=file)
