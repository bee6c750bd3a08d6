"""`autotrain prepare`, and `--use-prepared`: what was prepared, and whether it still is what would be prepared now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.command_flags import CommandFlags, in_the_way
from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.example import SFT, SOURCES, TWO_SOURCES, Example
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import declare_finding, rule
from autotrain_llm.declare.text import as_list, plain

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.data.prepared.info import PreparedInfo, TokensInfo

PREPARE = "prepare --trainer sft --data-path rows.jsonl --output-dir made"
# The fields of a preparation that change tokens, with the flags that set them.
LENGTHS = {
    "max_length": ("max_seq_length", "block_size"),
    "max_prompt_length": ("max_prompt_length",),
    "max_completion_length": ("max_completion_length",),
    "add_eos": ("add_eos_token",),
    "response_only": ("response_only_loss",),
}


# Settings of the rows that a run may give once more.
SETTINGS = (
    "valid_split",
    "eval_dataset_path",
    "max_samples",
    "context_columns",
    "ignore_columns",
    "num_labels",
    "seed",
)
CHOSEN_BY_SEED = ("valid_split", "max_samples")


@rule(
    "P142",
    example=Example("prepare --data-path rows.jsonl --trainer sft", PREPARE),
)
def prepare_needs_rows_and_a_folder(config: Config, command: CommandFlags) -> Iterator[Finding]:
    """`autotrain prepare` without `--data-path` (or `--data-config`), or without `--output-dir`.

    Why: there is nothing to read, or nowhere to write it.
    Fix: name both.
    """
    if not config.rows_from:
        fix = "--data-path ./data/rows.jsonl, or --data-config ./mix.yaml"
        yield Finding("prepare needs --data-path, and none was given", fix, ("data_path", "data_config"))
    if "output_dir" not in command.given:  # that of a config file is for the run
        yield Finding("prepare needs --output-dir, the folder to write to", "--output-dir ./prepared", ("output_dir",))


@rule("P143", example=Example(PREPARE, PREPARE, wrong="mkdir made && touch made/notes.txt"))
def prepare_writes_a_new_folder(config: Config, command: CommandFlags) -> Iterator[Finding]:
    """The `--output-dir` of `autotrain prepare` is there already, and not empty.

    Why: nothing is ever written over what is there.
    Fix: another folder, or remove this one.
    """
    if config.output_dir and "output_dir" in command.given:
        yield from in_the_way(config.output_dir, "prepare")


@rule("P144", WARNING, example=Example(f"{PREPARE} --lr 1e-4", PREPARE))
def prepare_reads_no_flags_of_training(config: Config, command: CommandFlags) -> Iterator[Finding]:
    """A flag of `autotrain prepare` that has nothing to do with rows or tokens.

    Why: rows are prepared and nothing is trained. Flags of a config file that are about training are passed over without a warning.
    Fix: remove the flag, and give it to `autotrain llm`.
    """
    yield from command.without_effect(": prepare reads rows and trains nothing")


UNWRITABLE_FOLDER = declare_finding(
    "P148",
    """`autotrain prepare` can't write its folder. Nothing of it is left.

Why: the folder's parent is not writable, the disk is full, or another command has written the folder meanwhile.
Fix: a folder in a place with room that can be written.
""",
    example=Example(
        "prepare --trainer sft --data-path rows.jsonl --output-dir notes.txt/made", PREPARE, wrong="touch notes.txt"
    ),
)


@rule(
    "D235",
    WARNING,
    example=Example(
        SFT.replace("--epochs 1", "--epochs 2") + "made",
        SFT + "made",
        before=f"""{TWO_SOURCES}
cat > mix.yaml <<'END'
{SOURCES.replace("0.5", "0.25", 1).replace("0.5", "0.75", 1)}END
autotrain prepare --trainer sft --data-config mix.yaml --output-dir made""",
    ),
)
def every_epoch_has_the_rows_of_the_first(config: Config, context: RunContext) -> Iterator[Finding]:
    """Several epochs on a folder that `autotrain prepare` wrote from a mixture, of whose sources an epoch has a part.

    Why: the folder has the rows of the mixture's first epoch, and every epoch goes through these. On the mixture itself, the next epoch goes on with
    rows that were not used yet.
    Fix: train on the mixture, which needs no preparation; or one epoch; or none, if the same rows are meant.
    """
    prepared = context.data.prepared_folder
    mixture = prepared.info.mixture if prepared is not None else None
    if mixture is None or (config.epochs or 0) <= 1:
        return
    left = [source["name"] for source in mixture["sources"] if source["rows_written"] < source["rows"]]
    if left:
        yield Finding(
            f"{config.data_path} has the first epoch of {mixture['file']}, which all {plain(config.epochs)} epochs go through: the rows of {', '.join(left)} "
            "that are not in it are never used",
            fix=f"--data-config {mixture['file']} in place of --data-path, which goes on to other rows in each epoch",
            parameters=("data_path", "epochs"),
        )


# ---- --use-prepared


@rule(
    "P145",
    example=Example(
        SFT + "made --use-prepared",
        SFT + "made --use-prepared",
        before=f"autotrain {PREPARE}",
        wrong='echo \'{"text": "Three."}\' >> rows.jsonl',
    ),
)
def the_rows_are_those_that_were_prepared(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--use-prepared`, and `--data-path` is not what `autotrain prepare` would write now: no prepared folder, or the files that it was made of, the
    written files, or the settings have changed. The finding names what.

    Why: with the flag, a run that would be trained on other rows than were prepared does not start.
    Fix: prepare the rows again into a new folder; or leave `--use-prepared` out, and the folder is read as it is.
    """
    if not config.use_prepared or not config.data_path:
        return
    from autotrain_llm.data.prepared.info import INFO, prepared_folder

    prepared = prepared_folder(config.data_path)
    about = ("use_prepared", "data_path")
    if prepared is None:
        folder = Path(config.data_path).expanduser()
        why = f"its {INFO} is of another tool or version" if (folder / INFO).is_file() else f"it has no {INFO}"
        message = f"--use-prepared: {config.data_path} is not a folder that prepare wrote ({why})"
        yield Finding(message, "autotrain prepare --data-path … --output-dir …, and --data-path that folder", about)
        return
    for name in prepared.changed_files():
        yield _changed(f"{config.data_path}/{name}", "was changed after it was written")
    yield from _changed_sources(prepared.info)
    yield from _changed_settings(config, prepared.info)


def _changed(what: str, how: str, parameters: tuple[str, ...] = ("use_prepared", "data_path")) -> Finding:
    fix = "prepare the rows again into a new folder, or leave out --use-prepared"
    return Finding(f"--use-prepared: {what} {how}", fix, parameters)


def _changed_sources(info: PreparedInfo) -> Iterator[Finding]:
    """The files that the rows were read from, where they are still there."""
    from autotrain_llm.declare.digests import is_unchanged

    for source in info.sources:
        if source.digest and Path(source.path).exists():
            entry = {"bytes": source.bytes, "digest": source.digest}
            if not is_unchanged(Path(source.path), entry):
                yield _changed(source.path, "has changed since its rows were prepared")


def _changed_settings(config: Config, info: PreparedInfo) -> Iterator[Finding]:
    """Settings of the rows that were given now, and had another value."""
    from autotrain_llm.data.prepared.info import VALIDATION

    if info.rows != config.trainer_spec.rows:
        yield _changed("the rows", f"were prepared for {info.trainer}, and {config.trainer} reads others", ("trainer",))
    for name in SETTINGS:
        before, now = info.parameters.get(name), as_list(config.value_of(name)) if config.given(name) else None
        if name == "valid_split" and now == VALIDATION:  # that of the folder
            continue
        if name == "seed" and not any(info.parameters.get(chosen) for chosen in CHOSEN_BY_SEED):
            continue
        if now is not None and now != before:
            was = "not given" if before is None else plain(before)
            yield _changed(flag_of(name), f"is {plain(now)}, and was {was} when the rows were prepared", (name,))


@rule(
    "P146",
    example=Example(
        SFT + "made --use-prepared --max-seq-length 64",
        SFT + "made --use-prepared --max-seq-length 128",
        before=f"autotrain {PREPARE} --model MODEL --max-seq-length 128",
    ),
)
def the_tokens_are_those_that_were_prepared(config: Config, context: RunContext) -> Iterator[Finding]:
    """`--use-prepared`, and the tokenizer, the chat template or a length limit is another than when the rows were tokenised.

    Why: the prepared tokens can't be used then.
    Fix: the model, template and limits with which the rows were prepared; or prepare them again into a new folder. Rows that were prepared without
    `--model` have no tokens, and this is not checked.
    """
    from autotrain_llm.data.prepared.make import template_digest

    prepared = context.data.prepared_folder if config.use_prepared else None
    tokens, tokenizer = prepared.info.tokens if prepared else None, context.tokenizer
    if tokens is None or tokenizer is None or context.prepared is None:
        return
    if tokens.tokenizer_digest != tokenizer.fingerprint:
        named = config.tokenizer or config.model
        yield _changed(f"the tokenizer of {named}", f"is not that of {tokens.tokenizer}, with which the rows were prepared", ("model", "tokenizer"))  # fmt: skip
        return
    if tokens.template_digest != template_digest(context.prepared):
        yield _changed("the chat template", "is not the one with which the rows were prepared", ("chat_template",))
    yield from _changed_lengths(config, tokens, vars(context.data.preparation))


def _changed_lengths(config: Config, tokens: TokensInfo, now: Mapping[str, Any]) -> Iterator[Finding]:
    for field, names in LENGTHS.items():
        before, value = tokens.preparation.get(field), now[field]
        if value != before:
            name = next((name for name in names if config.given(name)), names[-1])
            yield _changed(flag_of(name), f"is {plain(value)}, and was {plain(before)} when the rows were prepared", (name,))  # fmt: skip
