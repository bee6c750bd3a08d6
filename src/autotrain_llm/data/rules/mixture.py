"""Findings about mixtures: the file that describes one, its sources beside each other, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.wording import listed
from autotrain_llm.declare.example import (
    CHAT,
    MIXTURE,
    PAIR,
    SOURCES,
    TWO_SOURCES,
    Example,
    of_mixture,
)
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.rule import rule
from autotrain_llm.declare.text import plain_number, plural

CONFIG = ("data_config",)


def _at(file: str, line: int, problem: str, fix: str | None) -> Finding:
    """A finding about a line of the file of a mixture."""
    return Finding(f"{file}, line {line}: {problem}", fix, CONFIG, file=file, line=line)


@rule("D200", example=of_mixture("sources: [\n"))
def a_mixture_can_not_be_read(file: str, case: str, detail: str = "", line: int | None = None) -> Iterator[Finding]:
    """The file of `--data-config` can't be read, or names no sources.

    Why: nothing is known of the rows.
    Fix: a YAML file with the key `sources`, a list of data sets, each with a name, a path and a weight.
    """
    form = "write it as: sources: [{name: chat, path: chat.jsonl, weight: 0.75}, …]"
    message = {
        "unreadable": f"--data-config {file} can't be read: {detail}",
        "syntax": f"--data-config {file} can't be parsed: {detail}",
        "rows": f"--data-config {file} holds rows, and not the description of a mixture",
        "no mapping": f"--data-config {file} {detail}, and not the keys of a mixture",
        "no sources": f"--data-config {file} has no sources",
    }[case]
    fix = f"--data-path {file} in place of --data-config" if case == "rows" else form
    changes = {"data_path": file, "data_config": None} if case == "rows" else {}
    where = line if case in ("syntax", "no mapping", "no sources") else None
    yield Finding(message, fix, CONFIG, file=file, line=where, changes=changes)


@rule("D201", example=of_mixture(SOURCES.replace("weight: 0.5}", "wieght: 0.5}", 1)))
def a_mixture_has_an_unknown_key(
    file: str, line: int, key: str, place: str, known: Sequence[str], meant: str | None, instead: str = ""
) -> Iterator[Finding]:
    """A key of a mixture, or of one of its sources, is not known.

    Why: what it was to say would be left out of the mixture without a word.
    Fix: the key that was probably meant, or one of those that the finding lists.
    """
    fix = instead or (f"{meant}: …" if meant else f"the keys of {place} are {listed(known, most=20)}")
    yield _at(file, line, f"{place} has no key {key!r}", fix)


@rule("D202", example=of_mixture(SOURCES.replace("weight: 0.5}", "weight: -1}", 1)))
def a_value_of_a_mixture_can_not_be_used(
    file: str, line: int, key: str, problem: str, fix: str | None = None
) -> Iterator[Finding]:
    """A value in a mixture is missing, of the wrong type, or outside its bounds.

    Why: a weight below zero, or a limit that is no number, says nothing about which rows to use.
    Fix: a value as the finding describes it.
    """
    yield _at(file, line, f"{key} {problem}", fix)


@rule("D203", WARNING, example=of_mixture(SOURCES.replace("weight: 0.5}", "weight: 0.3}", 1)))
def the_weights_of_a_mixture_do_not_add_up(
    file: str, line: int, total: float, shares: Sequence[tuple[str, float]]
) -> Iterator[Finding]:
    """The weights of a mixture add up neither to 1 nor to 100. Each is divided by their sum.

    Why: a source may be missing, or a weight mistyped; as shares of the whole they then mean something else than what was written.
    Fix: weights that add up to 1, if the shares that the finding names are not meant.
    """
    named = ", ".join(f"{name} {share:.3g}" for name, share in shares)
    what = f"the weights add up to {plain_number(round(total, 6))}, and are divided by it: {named}"
    yield _at(file, line, what, "write these shares as weights, or others that add up to 1")


@rule("D204", example=of_mixture(SOURCES.replace("name: two", "name: one")))
def the_name_of_a_source_can_not_be_used(
    file: str, line: int, source: str, case: str, other: int = 0, suggested: str = ""
) -> Iterator[Finding]:
    """Two sources of a mixture have the same name, or a name can't be part of a metric's name.

    Why: the loss of each source is reported under its name, `eval_NAME_loss`. Without `name`, a source is called as its file or folder is.
    Fix: a name of its own for each source, of letters, digits, `-` and `_`.
    """
    match case:
        case "twice":
            what = f"the source of line {other} is called {source!r} too"
        case "taken":
            what = f"a source can't be called {source!r}: the run reports eval_{source}_loss for something else"
        case _:
            what = f"{source!r} can't be part of the name of a metric"
    yield _at(file, line, what, f"name: {suggested}")


@rule(
    "D205",
    example=of_mixture(
        SOURCES.replace("weight: 0.5}", "weight: 0.5, where: {lang: fr}}", 1),
        SOURCES.replace("weight: 0.5}", "weight: 0.5, where: {lang: en}}", 1),
    ),
)
def no_row_has_the_wanted_values(
    name: str,
    column: str,
    wanted: Sequence[tuple[str, Sequence[object]]],
    values: Sequence[str],
    columns: Sequence[str],
    rows: int,
) -> Iterator[Finding]:
    """No row of a source has the values that its `where` asks for.

    Why: there is nothing to train on.
    Fix: a value that the column has; the finding lists them, the most frequent first.
    """
    conditions = "; ".join(f"{key} {' or '.join(map(str, options))}" for key, options in wanted)
    message = f"{name}: none of the {plural(rows, 'row')} passes where ({conditions})"
    if column not in columns and not values:
        yield Finding(f"{message}: there is no column {column}", f"its columns are {listed(columns)}", CONFIG)
    else:
        yield Finding(message, f"the values of {column} are {listed(values)}", CONFIG)


@rule(
    "D206",
    example=Example(
        MIXTURE.replace("sft", "kto"),
        MIXTURE.replace("sft", "kto"),
        SOURCES,
        SOURCES.replace("two.jsonl", "three.jsonl"),
        "mix.yaml",
        before=f"echo '{PAIR.strip()}' > one.jsonl\n"
        """echo '{"prompt": "Hi", "completion": "Hello", "label": true}' > two.jsonl\n"""
        f"echo '{PAIR.strip().replace('Hi', 'Bye')}' > three.jsonl",
    ),
)
def two_sources_are_of_different_kinds(
    file: str, line: int, name: str, kind: str, other: str, other_kind: str
) -> Iterator[Finding]:
    """A source has pairs of answers, and another has answers that are labelled good or bad.

    Why: the two are different rows of a batch.
    Fix: one kind in each mixture: write the pairs as two labelled rows each.
    """
    what = f"the rows of {name} are {kind}, and those of {other} are {other_kind}"
    yield _at(file, line, what, "write all sources in one of the two formats")


@rule(
    "D207",
    WARNING,
    example=of_mixture(SOURCES, before=f"{TWO_SOURCES.splitlines()[0]}\necho '{CHAT.strip()}' > two.jsonl").replace(
        right=TWO_SOURCES.splitlines()[1]
    ),
)
def sources_are_written_in_different_forms(
    file: str, line: int, name: str, form: str, other: str, other_form: str
) -> Iterator[Finding]:
    """The rows of a source are written with the chat template, and those of another as plain text.

    Why: the model learns two forms of a prompt, and answers best in the one that most rows have. For continued pretraining beside
    conversations it is meant.
    Fix: write all sources as conversations, or as plain prompts; `--chat-template NAME` renders plain prompts too.
    """
    what = f"{name} {form}, and {other} {other_form}: the model learns both forms"
    yield _at(file, line, what, "write both as conversations, if that is not meant")


@rule(
    "D208",
    WARNING,
    example=of_mixture(f"{SOURCES}total: 20\n", f"{SOURCES}total: 4\n"),
)
def a_source_is_repeated(file: str, line: int, name: str, passes: float, rows: int, drawn: int) -> Iterator[Finding]:
    """A source has fewer rows than its weight asks for in an epoch of the mixture: its rows are repeated.

    Why: a model memorises rows that it sees many times. All rows of the source are used once before any is used again.
    Fix: a smaller weight, a smaller `total`, or more rows.
    """
    times = f"{passes:.2g}" if passes < 100 else f"{passes:.0f}"
    what = f"{name} is repeated {times} times in an epoch: {drawn} of {plural(rows, 'row')}"
    yield _at(file, line, what, "a smaller weight or total, if that is not meant")


@rule("D209", example=of_mixture(f"{SOURCES}validation: 4\n", f"{SOURCES}validation: 0.25\n"))
def a_source_has_no_rows_to_hold_out(
    file: str, line: int, name: str, share: str, rows: int, case: str
) -> Iterator[Finding]:
    """`validation` asks for no rows of a source, or for all of them.

    Why: the loss of each source is computed on rows of it that are not trained on, and something must be left to train on. Rows with the same
    content stay on one side, also across sources.
    Fix: another share or number of rows, for all sources or, as a key of the source, for this one.
    """
    what = "leaves none of them to train on" if case == "all" else "holds none of them out"
    fix = "a smaller share" if case == "all" else "a larger share"
    what = f"{name} has {plural(rows, 'row')}, and validation: {share} {what}"
    yield _at(file, line, what, f"{fix}, or `validation: none` in this source")


@rule(
    "D210",
    example=of_mixture(SOURCES.replace("weight: 0.5", "weight: 0.99", 1).replace("0.5}", "0.01}") + "total: 4\n"),
)
def a_source_gives_no_row(file: str, line: int, name: str, share: float, unit: str, size: int) -> Iterator[Finding]:
    """The share of a source comes to no row of an epoch.

    Why: nothing of it would be trained on.
    Fix: a larger `total`, or a larger weight.
    """
    what = f"{share:.2%} of an epoch of {plural(size, unit)} is no row of {name}"
    yield _at(file, line, what, "a larger total, or a larger weight")


@rule(
    "D211",
    example=of_mixture(
        SOURCES.replace("weight: 0.5}", "weight: 0.5, format: messages}", 1),
        SOURCES.replace("weight: 0.5}", "weight: 0.5, format: text}", 1),
    ),
)
def the_rows_have_another_format(file: str, wanted: str, recognised: str) -> Iterator[Finding]:
    """The rows of a source don't have the format that its key `format` names.

    Why: they would be read as something else than what was meant.
    Fix: the format that the rows have, or other rows.
    """
    yield Finding(f"{file} holds rows of the format {recognised}, and not {wanted}", f"format: {recognised}", CONFIG)


def in_mixture(finding: Finding, file: str, line: int, name: str) -> Finding:
    """A finding about the rows of a source, in the words of the mixture: its fix can't be typed as flags, and it says which source it is about."""
    message = f"{name} ({file}, line {line}): {_in_keys(finding.message)}"
    fix = finding.fix and _in_keys(finding.fix)
    place: dict[str, Any] = {} if finding.file and (finding.row or finding.line) else {"file": file, "line": line}
    return finding.replace(message=message, parameters=CONFIG, changes={}, guess={}, fix=fix, otherwise="", **place)


# What flags about one data set are called in a mixture.
KEYS = {
    "--data-path": "path:",
    "--train-split": "split:",
    "--valid-split": "validation:",
    "--eval-dataset-path": "validation:",
    "--max-samples": "max_samples:",
    "--text-column": "text_column:",
    "--prompt-text-column": "prompt_text_column:",
    "--rejected-text-column": "rejected_text_column:",
    "--reasoning-column": "reasoning_column:",
    "--context-columns": "context_columns:",
    "--ignore-columns": "ignore_columns:",
}


def _in_keys(text: str) -> str:
    for flag, key in KEYS.items():
        text = text.replace(f"{flag} ", f"{key} ").replace(flag, key.removesuffix(":"))
    return text
