"""Findings about rows with several scores or with a class, which a reward model of several outputs is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import shown
from autotrain_llm.declare.example import PAIRS, Example, of_flags, of_rows
from autotrain_llm.declare.finding import ERROR, WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain, plural

GRADED_COMMAND = "llm --trainer reward --model MODEL --lr 1e-5 --epochs 1 --batch-size 2 --num-labels 2 --data-path "
ROW = '{"prompt": "Hi", "answer": "Hello", "scores": [3, 1]}\n'
SCORED = ROW + '{"prompt": "Bye", "answer": "See you", "scores": [1, 2]}\n'
CLASSES = '{"prompt": "Hi", "answer": "Hello", "label": "good"}\n{"prompt": "Bye", "answer": "What", "label": "bad"}\n'
LABELS = ("num_labels",)


@rule(
    "P701", example=of_flags("--num-labels 2", "--num-labels 1", PAIRS, GRADED_COMMAND.replace("--num-labels 2 ", ""))
)
def pairs_are_ordered_by_one_score(num_labels: int, file: str) -> Iterator[Finding]:
    """`--num-labels` above 1 with preference pairs.

    Why: a pair is ordered by one score for each answer. More outputs are trained on rows with several scores, or with a class.
    Fix: `--num-labels 1`, or rows with an answer and its scores.
    """
    yield Finding(
        f"--num-labels {num_labels}: {file} holds preference pairs, which are ordered by 1 score per answer",
        changes={"num_labels": 1},
        otherwise="or rows with prompt, answer and scores",
        parameters=LABELS,
        file=file,
    )


@rule("P704", example=of_rows(ROW + '{"prompt": "Bye", "answer": "See you", "scores": [1]}\n', SCORED, GRADED_COMMAND))
def every_row_has_all_scores(
    column: str, case: str = "", content: Any = None, found: int = 0, num_labels: int = 0, names: Sequence[str] = ()
) -> Iterator[Finding]:
    """A row has more or fewer scores than the others, or others, a score is missing, or it is not a number.

    Why: each output of the model is compared with the score of its name; without it there is nothing to compare with.
    Fix: complete the row, or delete it.
    """
    match case:
        case "count":
            message = f"{shown(column)} has {plural(found, 'score')}, and --num-labels is {num_labels}"
        case "keys":
            message = (
                f"{shown(column)} has the scores {', '.join(map(str, content))}, and other rows have {', '.join(names)}"
            )
        case "kind":
            kinds = ("scores", "a class")
            message = f"{shown(column)} has {kinds[not found]}, and the rows that are trained on have {kinds[found]}"
        case "missing":
            message = f"{shown(column)} is empty"
        case _:
            message = f"{shown(column)} is {plain(content)}, and a score is a finite number"
    yield Finding(message, "complete the row or delete it", (DATA_PARAMETER,), ERROR)


@rule(
    "P705",
    example=of_flags("--num-labels 3", "--num-labels 2", CLASSES, GRADED_COMMAND.replace("--num-labels 2 ", "")),
)
def the_classes_are_as_many_as_the_labels(
    column: str, names: Sequence[str], num_labels: int, file: str
) -> Iterator[Finding]:
    """The rows have more or fewer classes than `--num-labels`, or only one.

    Why: each class is an output of the model. One that no row has would never be learned, and one too many has no output. Whole numbers from 0 to
    `--num-labels` - 1 may have gaps.
    Fix: `--num-labels` with the number of classes.
    """
    shown_names = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    count = f"{len(names)} class{'' if len(names) == 1 else 'es'}"
    yield Finding(
        f"{file}: {shown(column)} has {count} ({shown_names}), and --num-labels is {num_labels}",
        fix="rows of another class too" if len(names) < 2 else None,
        guess={} if len(names) < 2 else {"num_labels": len(names)},
        parameters=LABELS,
        file=file,
    )


@rule(
    "P706",
    example=of_flags(
        "--num-labels 3",
        "--num-labels 2",
        '{"prompt": "Hi", "answer": "Hello", "kind": 3, "short": 1}\n{"prompt": "Bye", "answer": "Go", "kind": 1, "short": 4}\n',
        GRADED_COMMAND.replace("--num-labels 2 ", ""),
    ),
)
def the_columns_of_scores_are_as_many_as_the_labels(
    columns: Sequence[str], num_labels: int, file: str
) -> Iterator[Finding]:
    """More or fewer columns hold numbers than `--num-labels`.

    Why: each column of numbers is taken for a score with that name.
    Fix: `--num-labels` with their number, or `--ignore-columns` for those that are no scores.
    """
    yield Finding(
        f"{file}: {plural(len(columns), 'column')} of numbers ({', '.join(columns)}), and --num-labels is {num_labels}",
        guess={"num_labels": len(columns)},
        otherwise="or --ignore-columns with those that are no scores" if len(columns) > num_labels else "",
        parameters=LABELS,
        file=file,
    )


@rule(
    "P707",
    WARNING,
    example=of_rows(ROW + '{"prompt": "Bye", "answer": "See you", "scores": [3, 2]}\n', SCORED, GRADED_COMMAND),
)
def every_score_varies(names: Sequence[str], file: str) -> Iterator[Finding]:
    """A score is the same in all rows.

    Why: the model learns a constant, which tells no answer from another, and the correlation with it does not exist.
    Fix: leave it out, with a smaller `--num-labels`.
    """
    yield Finding(
        f"{file}: {' and '.join(names)} {'has' if len(names) == 1 else 'have'} the same value in all rows",
        fix="leave it out of the rows, and lower --num-labels",
        parameters=(DATA_PARAMETER,),
        file=file,
    )


@rule(
    "P708",
    example=Example(
        f"{GRADED_COMMAND}rows.jsonl --eval-dataset-path other.jsonl",
        f"{GRADED_COMMAND}rows.jsonl --eval-dataset-path same.jsonl",
        CLASSES,
        CLASSES,
        before="""echo '{"prompt": "Why", "answer": "So", "label": "ugly"}' > other.jsonl
echo '{"prompt": "Why", "answer": "So", "label": "bad"}' > same.jsonl""",
    ),
)
def a_class_is_only_evaluated(name: str) -> Iterator[Finding]:
    """An evaluation row has a class that no training row has.

    Why: the model has no output for it.
    Fix: a training row of this class, or leave the row out.
    """
    yield Finding(
        f"no training row has the class {name!r}", "add training rows of it or delete the row", (DATA_PARAMETER,)
    )
