"""`autotrain prepare`: write the rows of a data set, normalised, and with a model their tokens, into a folder that `--data-path` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotrain_llm.cli.outcome import DONE, ended, refuse
from autotrain_llm.cli.parser import read
from autotrain_llm.cli.preparing import Preparing
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to
from autotrain_llm.declare.finding import typed
from autotrain_llm.declare.text import plural

if TYPE_CHECKING:
    from autotrain_llm.checks.preflight import Checked
    from autotrain_llm.config.arguments import ParsedArguments
    from autotrain_llm.data.prepared.info import PreparedInfo

NOTHING_WRITTEN = "Stopped: nothing was written."
COLUMNS = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
USAGE = """\
usage: autotrain prepare --data-path DATA | --data-config FILE --output-dir DIR [--trainer NAME] [--model MODEL] [flags]"""
SUMMARY = (
    "Reads rows, and writes them normalised to DIR: train.jsonl, validation.jsonl and dataset_info.json; with --model also as tokens. "
    "`autotrain llm --data-path DIR` trains on them. Without --trainer, the rows decide whom they are for."
)


def prepare(words: Sequence[str]) -> int:
    """Carry out the words after `autotrain prepare` and return the exit status."""
    arguments = read(words)
    with Screen.of(arguments.values) as screen:
        return ended(lambda: _answer(arguments, screen), screen, NOTHING_WRITTEN)


def _answer(arguments: ParsedArguments, screen: Screen) -> int:
    """Check the command and carry it out."""
    from autotrain_llm.checks.entry import read_config_file
    from autotrain_llm.checks.preparation import check_prepare_arguments

    from_file = read_config_file(arguments.values)
    with Preparing(screen) as preparing:
        checked = check_prepare_arguments(arguments, from_file, preparing.progress)
        if checked.refused:
            return refuse(checked.findings, screen, strict=bool(checked.config.strict))
        is_named = "trainer" in arguments.values or "trainer" in from_file.values
        return _write(checked, screen, preparing, is_named)


def _write(checked: Checked, screen: Screen, preparing: Preparing, is_named: bool) -> int:
    """Write the rows and print what was written. `is_named` says whether the trainer was given."""
    from autotrain_llm.checks.preparation import write_prepared
    from autotrain_llm.cli.render import count_line, findings_text

    if checked.config.dry_run:
        info, findings = None, checked.findings
    else:
        info, findings = write_prepared(checked, preparing.progress)
    if screen.json:
        screen.document(DONE, findings, prepared=None if info is None else info.as_json())
        return DONE
    if not screen.quiet:
        for line in _lines(checked, info, is_named):
            screen.answer(fit_to(screen.out, line, "  "))
    screen.write(findings_text(findings, screen.err))
    if not screen.quiet and findings:
        screen.write(count_line(findings, started=info is not None))
    return DONE


def _lines(checked: Checked, info: PreparedInfo | None, is_named: bool) -> list[str]:
    """What was written, or would be."""
    config, dataset = checked.config, checked.context.dataset
    assert dataset is not None  # else there is an error
    why = "" if is_named else " (by the format of the rows; --trainer names another)"
    lines = [f"{dataset.describe()}", f"For {config.trainer}{why}."]
    if info is None:
        return [*lines, f"Nothing was written (--dry-run); {config.output_dir} would hold them."]
    for name, split in info.splits.items():
        lines.append(f"{config.output_dir}/{split.file}: {plural(split.rows, 'row')} of {info.shape} ({name})")
    if info.tokens is not None:
        total = info.tokens.statistics["total_tokens"]
        lines.append(
            f"{config.output_dir}/tokens: {plural(total, 'token')} to train on, by the tokenizer of {info.tokens.tokenizer}"
        )
    return [*lines, f"autotrain llm {' '.join(_flags(checked, info))} …"]


def _flags(checked: Checked, info: PreparedInfo) -> list[str]:
    """The flags with which a run uses what was written."""
    config = checked.config
    flags: dict[str, Any] = {"trainer": config.trainer}
    required = {name for names in config.trainer_spec.requires for name in names.split("|")}
    flags |= {name: column for name, column in COLUMNS.items() if name in required and column in info.columns}
    if info.tokens is not None:
        reads = ("model", "tokenizer", "block_size", "model_max_length", "max_seq_length", "max_prompt_length",
                 "max_completion_length", "chat_template", "add_eos_token", "response_only_loss")  # fmt: skip
        flags |= {name: config.value_of(name) for name in reads if config.given(name) and config.applies(name)}
    return [typed(name, value) for name, value in {**flags, "data_path": config.output_dir}.items()]
