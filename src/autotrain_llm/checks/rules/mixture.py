"""`--data-config`, a mixture of data sets, beside the flags about one data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from autotrain_llm.checks.rules.evaluation import flags_that_need_rows
from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.example import MIXTURE, SOURCES, TWO_SOURCES, Example, of_mixture
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.trainer import Trainer

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext

# What a mixture says of each source, and the key it says it with.
OF_SOURCES = {
    "train_split": "split",
    "max_samples": "max_samples",
    "text_column": "text_column",
    "prompt_text_column": "prompt_text_column",
    "rejected_text_column": "rejected_text_column",
    "reasoning_column": "reasoning_column",
    "context_columns": "context_columns",
    "ignore_columns": "ignore_columns",
}


@rule("D212", refuses="--data-path rows.jsonl --data-config mix.yaml", accepts="--data-config mix.yaml")
def rows_come_from_a_path_or_a_mixture(config: Config) -> Iterator[Finding]:
    """`--data-path` and `--data-config` together.

    Why: each says where all rows come from.
    Fix: keep one, or make the path a source of the mixture.
    """
    if config.data_path is not None and config.data_config:
        yield Finding(
            f"--data-path {config.data_path} and --data-config {config.data_config} both say where the rows come from",
            fix=f"keep one of them; or add to the sources of {config.data_config}: {{path: {config.data_path}}}",
            parameters=("data_path", "data_config"),
        )


@rule("D213", refuses="--data-config mix.yaml --max-samples 100", accepts="--data-path rows.jsonl --max-samples 100")
def a_mixture_has_its_own_settings_of_its_sources(config: Config) -> Iterator[Finding]:
    """A flag about one data set together with `--data-config`.

    Why: the sources of a mixture have columns, splits and limits of their own, and which of them were meant is not clear.
    Fix: the key of the same meaning in each source that is meant.
    """
    written = [name for name in OF_SOURCES if config.given(name) and config.value_of(name) is not None]
    given = [name for name in written if config.data_config and config.applies(name)]
    if given:
        flags, keys = ", ".join(map(flag_of, given)), ", ".join(f"{OF_SOURCES[name]}: …" for name in given)
        yield Finding(
            f"{flags} {'is' if len(given) == 1 else 'are'} about one data set, and --data-config {config.data_config} has several",
            fix=f"write into each source that is meant: {keys}",
            parameters=(*given, "data_config"),
        )


@rule(
    "D214",
    WARNING,
    example=of_mixture(f"{SOURCES}validation: 0.25\n", SOURCES, flags=" --engine trl"),
)
def the_trl_engine_measures_no_loss_of_a_source(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--engine trl` with a mixture that has evaluation rows.

    Why: TRL's trainers follow the order of the mixture, but evaluate all rows as one: the losses and metrics of single sources are missing.
    Fix: the native engine, if they are needed.
    """
    mixture = context.data.mixture
    if config.engine == "trl" and mixture is not None and (mixture.is_validated or config.valid_split):
        yield Finding(
            f"--engine trl evaluates the rows of {config.data_config} together, and measures no loss of each source",
            guess={"engine": "native"},
            parameters=("engine", "data_config"),
        )


@rule(
    "D215",
    example=of_mixture(f"{SOURCES}validation: 0.25\n", SOURCES, flags=" --valid-split 0.25"),
)
def evaluation_rows_are_named_once(config: Config, context: RunContext) -> Iterator[Finding]:
    """A mixture that names evaluation rows, and `--valid-split` or `--eval-dataset-path`.

    Why: only one of the two can be meant. The flags are for a mixture that has no `validation`.
    Fix: remove the flag, or the key.
    """
    mixture = context.data.mixture
    given = [name for name in ("valid_split", "eval_dataset_path") if config.given(name)]
    if mixture is not None and mixture.is_validated and given:
        flags = " and ".join(map(flag_of, given))
        yield Finding(
            f"{mixture.file} names evaluation rows with validation, and {flags} others",
            changes=dict.fromkeys(given),
            otherwise=f"or remove validation from {mixture.file}",
            parameters=(*given, "data_config"),
        )


@rule(
    "D216",
    example=Example(
        f"{MIXTURE} --eval-strategy steps",
        f"{MIXTURE} --eval-strategy steps",
        SOURCES,
        f"{SOURCES}validation: 0.25\n",
        "mix.yaml",
        before=TWO_SOURCES,
    ),
)
def a_mixture_is_evaluated_on_rows_of_it(config: Config, context: RunContext) -> Iterator[Finding]:
    """Flags that need evaluation rows, and a mixture without `validation`.

    Why: early stopping, the best checkpoint and every `eval_…` metric come from evaluation.
    Fix: hold out a share of each source.
    """
    mixture = context.data.mixture
    if mixture is None or mixture.is_validated or config.valid_split or config.eval_dataset_path:
        return
    flags = flags_that_need_rows(config)
    if flags:
        yield Finding(
            f"{', '.join(flags)} {'needs' if len(flags) == 1 else 'need'} evaluation rows, and {mixture.file} names none",
            fix=f"write validation: 0.1 into {mixture.file}, which holds out a tenth of each source",
            parameters=(*(flag.split()[0].removeprefix("--").replace("-", "_") for flag in flags), "data_config"),
        )


@rule(
    "D217",
    refuses="--trainer reward --data-config mix.yaml --num-labels 2",
    accepts="--trainer reward --data-config mix.yaml",
)
def rows_with_several_scores_are_of_one_data_set(config: Config, trainer: Trainer) -> Iterator[Finding]:
    """`--num-labels` above 1 with `--data-config`.

    Why: the scores or classes of a row are those that the data set has names for, and sources would each have their own.
    Fix: write all rows into one data set, and name it with `--data-path`.
    """
    if config.data_config and trainer.rows == "graded":
        yield Finding(
            f"--data-config {config.data_config}: rows with several scores or a class can't be mixed",
            fix="write them into one data set, and name it with --data-path",
            parameters=("num_labels", "data_config"),
        )
