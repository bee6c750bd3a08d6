"""Which rows are trained on."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, group, param


@group("Data", order=20, searchable=False)
class Data:
    """Which rows to learn from."""

    data_path: str = param(
        None,
        "Training data: a file, a folder with splits, a saved data set, or a Hub id.",
        metavar="PATH",
        required=True,
        stage="rows",
        path="input",
    )
    train_split: str = param("train", "Split to train on.", metavar="NAME", stage="rows")
    valid_split: str | None = param(
        None,
        "Rows to evaluate on: a split's name, or a share (`0.1`) or number (`200`) of rows to hold out.",
        metavar="NAME|SHARE|N",
        stage="rows",
    )
    eval_dataset_path: str | None = param(
        None, "Rows to evaluate on, from a file or data set of their own.", metavar="PATH", stage="rows", path="input"
    )
    max_samples: int | None = param(
        None, "Use the first so many rows.", within=AT_LEAST_ONE, default_words="all", stage="rows"
    )
    text_column: str | None = param(
        None,
        "Column with the text, the messages or, for preferences, the chosen answer.",
        metavar="NAME",
        default_words="recognised",
        stage="rows",
    )


@group("Prompt column", order=21, searchable=False)
class PromptColumn:
    """Where prompt and answer are columns of their own."""

    prompt_text_column: str | None = param(
        None,
        "Column with the prompt.",
        metavar="NAME",
        default_words="recognised",
        stage="rows",
        counterparts=("text_column",),
    )


@group("Rejected column", order=22, searchable=False)
class RejectedColumn:
    """Rows that hold a better and a worse answer."""

    rejected_text_column: str | None = param(None, "Column with the rejected answer.", metavar="NAME", stage="rows")
