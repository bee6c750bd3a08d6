"""Which rows are trained on."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, FIXED, NO_INFLUENCE, SAME_ROWS, group, param


@group("Data", order=20, searchable=False, on_resume=SAME_ROWS)
class Data:
    """The rows to train and evaluate on."""

    data_path: str = param(
        None,
        "Training data: a file, a folder with splits, a saved data set, or a Hub id.",
        usual=True,
        metavar="PATH",
        required=True,
        alternative="data_config",
        stage="rows",
        path="input",
        aliases=(
            "data data_dir data_file dataset dataset_dir dataset_file dataset_name dataset_path datasets prompt_data "
            "train_data train_data_path train_dataset train_dataset_path train_file train_file_dir train_path training_data"
        ),
        spellings="data_files data_cache_path",
    )
    data_config: str | None = param(
        None,
        "A mixture of several data sets with their weights, as a YAML file, in place of `--data-path`.",
        usual=True,
        metavar="FILE",
        stage="rows",
        path="input",
        aliases="data_mix data_mixture dataset_mixture mixture mixture_config",
    )
    use_prepared: bool = param(
        False,
        "Refuse to run unless --data-path is what `autotrain prepare` wrote, of the same files, settings, tokenizer and lengths.",
        aliases="use_prepared_data",
        on_resume=NO_INFLUENCE,
    )
    train_split: str = param(
        "train",
        "Split to train on.",
        metavar="NAME",
        stage="rows",
        aliases="dataset_split dataset_train_split prompt_split split",
    )
    valid_split: str | None = param(
        None,
        "Evaluation rows: a split's name, or a share (`0.1`) or number (`200`) of the training rows to hold out; 0 for none.",
        usual=True,
        metavar="NAME|SHARE|N",
        stage="rows",
        nothing="0 0.0 none",
        aliases=(
            "dataset_eval_split dataset_test_split eval_ratio eval_split split_dataset_ratio test_size test_split_size "
            "val_ratio val_set_size val_size val_split valid_size validation_split"
        ),
    )
    eval_dataset_path: str | None = param(
        None,
        "Evaluation rows: a separate file, folder, saved data set or Hub id.",
        metavar="PATH",
        stage="rows",
        path="input",
        aliases=(
            "eval_data eval_data_path eval_dataset eval_dataset_name eval_file test_datasets val_dataset val_file "
            "valid_dataset valid_file valid_path validation_dataset validation_file validation_file_dir"
        ),
    )
    max_samples: int | None = param(
        None,
        "Use only N rows, chosen by --seed; of a set on the Hub little more is downloaded than these.",
        within=AT_LEAST_ONE,
        never={"max_samples": None},
        default_words="all",
        stage="rows",
        aliases="max_rows max_train_samples train_dataset_sample train_max_samples",
    )
    text_column: str | None = param(
        None,
        "Column with the text, the messages or, for preferences, the chosen answer.",
        metavar="NAME",
        default_words="detected",
        stage="rows",
        aliases=(
            "answer_column chosen_column chosen_key chosen_text_column completion_column conversation_column "
            "dataset_conversation_field dataset_text_field field_messages messages_column messages_field messages_key "
            "output_key response_column text_field text_key"
        ),
    )
    context_columns: list[str] = param(
        (),
        "Columns that are put before the prompt, separated by commas; contexts under their usual names are found without it.",
        metavar="NAMES",
        default_words="detected",
        stage="rows",
        aliases="context_column context_field field_context",
    )
    ignore_columns: list[str] = param(
        (),
        "Columns that are not used on purpose, separated by commas: they are neither put into the prompt nor reported.",
        metavar="NAMES",
        default_words="none",
        stage="rows",
        aliases="drop_columns exclude_columns",
    )


@group("Prompt column", order=21, searchable=False, on_resume=SAME_ROWS)
class PromptColumn:
    """Rows with prompt and answer in separate columns."""

    prompt_text_column: str | None = param(
        None,
        "Column with the prompt.",
        metavar="NAME",
        default_words="detected",
        stage="rows",
        counterparts=("text_column",),
        aliases="dataset_prompt_column input_key instruction_column prompt_column prompt_field prompt_key question_column",
    )


@group("Reasoning column", order=23, searchable=False, on_resume=SAME_ROWS)
class ReasoningColumn:
    """Rows with the reasoning that leads to an answer in a column of its own."""

    reasoning_column: str | None = param(
        None,
        "Column with the reasoning before each answer: trained on as the chat template writes reasoning, else between <think> tags.",
        metavar="NAME",
        stage="rows",
        aliases="cot_column rationale_column thinking_column thought_column",
    )


@group("Rejected column", order=22, searchable=False, on_resume=SAME_ROWS)
class RejectedColumn:
    """Rows with a chosen and a rejected answer."""

    rejected_text_column: str | None = param(
        None,
        "Column with the rejected answer.",
        metavar="NAME",
        stage="rows",
        aliases="rejected_column rejected_field rejected_key",
    )


@group(
    "Streaming", order=24, switch="streaming", subject="Streaming", misused="error", searchable=False, on_resume=FIXED
)
class Streaming:
    """Rows that are read while they are trained on."""

    streaming: bool = param(
        False,
        "Read the training rows while training and not before; the first 1000 (--check-rows) are checked, and --max-steps is needed.",
        stage="rows",
        aliases="dataset_streaming stream use_streaming",
    )
    stream_buffer: int = param(
        10_000,
        "Shuffle, and pack, within so many rows at a time.",
        within=AT_LEAST_ONE,
        aliases="buffer_size shuffle_buffer_size streaming_buffer_size streaming_multipack_buffer_size",
    )
