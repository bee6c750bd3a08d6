"""Findings about rows that `autotrain prepare` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotrain_llm.data.observations import DATA_PARAMETER
from autotrain_llm.data.wording import listed, parameter_of
from autotrain_llm.declare.example import SFT, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule

DATA = (DATA_PARAMETER,)
MADE = "autotrain prepare --trainer sft --data-path rows.jsonl --output-dir made --valid-split 1"
HELLO = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'
MAKES = "prepare --trainer sft --data-path rows.jsonl --output-dir made"
READS = SFT + "made"


@rule(
    "D230",
    WARNING,
    example=Example(READS, READS, before=MADE, wrong='echo \'{"text": "Three."}\' >> made/train.jsonl'),
)
def prepared_rows_were_changed(folder: str, files: Sequence[str]) -> Iterator[Finding]:
    """A file that `autotrain prepare` wrote is not what it wrote. The folder is read like any other, and its tokens are not used.

    Why: what `dataset_info.json` says is not true of a file that was changed.
    Fix: prepare the rows again into a new folder; or delete `dataset_info.json`, if the change is meant.
    """
    what = f"{folder}: {listed(files)} {'were' if len(files) > 1 else 'was'} changed after it was prepared, and is read like any other file"
    yield Finding(what, "prepare the rows again, or delete dataset_info.json if the change is meant", DATA, file=folder)


@rule(
    "D231",
    WARNING,
    example=Example(READS + " --valid-split 0.5", READS, before=MADE, rows='{"text": "One."}\n{"text": "Two."}\n{"text": "Three."}\n',
                    good='{"text": "One."}\n{"text": "Two."}\n{"text": "Three."}\n'),
)  # fmt: skip
def the_prepared_evaluation_rows_are_not_used(folder: str, flag: str) -> Iterator[Finding]:
    """A prepared folder has evaluation rows, and a flag names others.

    Why: rows that were set aside when the data was prepared are then neither trained nor evaluated on.
    Fix: remove the flag.
    """
    parameter = parameter_of(flag.split()[0])
    what = f"{folder} has evaluation rows, which are not used: {flag} names others"
    yield Finding(what, None, (parameter,), file=folder, changes={parameter: None})


@rule(
    "D232",
    WARNING,
    example=Example(
        MAKES,
        MAKES,
        rows='{"prompt": "Hi", "completion": "Hello"}\n{"prompt": [{"role": "user", "content": "Bye"}], "completion": [{"role": "assistant", "content": "Bye"}]}\n',
        good='{"prompt": "Hi", "completion": "Hello"}\n',
    ),
)
def rows_are_written_in_one_shape(file: str, shapes: Sequence[str], shape: str) -> Iterator[Finding]:
    """Rows of several shapes are written in one: texts as turns, or prompts with completions as conversations.

    Why: the rows of one file have the same columns, of the same types, as other tools need them. Training on a text that became a turn, the
    model sees it inside the chat template.
    Fix: prepare rows of each shape into a folder of their own, if texts have to stay texts.
    """
    what = f"{file} has rows of several shapes ({listed(shapes)}), which are all written as {shape}"
    yield Finding(what, "prepare each into a folder of its own, if texts have to stay texts", DATA, file=file)


@rule(
    "D234",
    example=Example(
        "prepare --trainer sft --data-config mix.yaml --output-dir made",
        "prepare --trainer sft --data-config mix.yaml --output-dir made --tokenizer MODEL",
        before="cat > mix.yaml <<'END'\nweights_by: tokens\nsources: [{name: a, path: rows.jsonl, weight: 1}]\nEND",
    ),
)
def weights_by_tokens_need_a_tokenizer(file: str) -> Iterator[Finding]:
    """A mixture whose weights are shares of the tokens is prepared without a tokenizer.

    Why: how many rows of each source that takes is only known from their tokens.
    Fix: `--model`, or `--tokenizer`.
    """
    what = f"{file} weighs its sources by tokens, and without a tokenizer the rows have none"
    yield Finding(what, "--model <the model that will be trained>", ("model", "data_config"), file=file)


@rule(
    "D233",
    example=Example(
        MAKES,
        MAKES,
        rows=f'{{"chosen": {HELLO}, "rejected": {HELLO}}}\n{{"chosen": "Good day.", "rejected": "No"}}\n',
    ),
)
def rows_have_no_common_shape(file: str, shapes: Sequence[str]) -> Iterator[Finding]:
    """Rows of shapes that can't be written in one file: texts beside conversations, tokens beside either.

    Why: the rows of one file have the same columns.
    Fix: prepare rows of each shape into a folder of their own.
    """
    what = f"{file} has rows of several shapes ({listed(shapes)}), which can't be written in one file"
    yield Finding(what, "prepare each into a folder of its own; a mixture can read both folders", DATA, file=file)
