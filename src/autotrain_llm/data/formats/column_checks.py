"""What can be said about columns: named ones that are absent, ones that were swapped, and rows that nothing fits."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from autotrain_llm.data.formats.detect import (
    CHOSEN,
    QUESTIONS,
    REJECTED,
    TEXT,
    ColumnMapping,
    Columns,
    holds_token_ids,
    recognise,
)
from autotrain_llm.data.formats.messages import is_too_deep, too_deep
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.wording import close, kind_of, listed, nearest, plain, shown
from autotrain_llm.declare.finding import WARNING
from autotrain_llm.declare.param import flag_of

WANTED = {
    "documents": "a column of text (text), prompt and completion, or messages",
    "conversations": "messages, prompt and completion, instruction and output, or text",
    "preferences": "a prompt, a chosen and a rejected answer",
    "scored": "a chosen and a rejected answer",
    "prompts": "a prompt",
    "labelled": "a prompt, an answer and a label (true or false), or a prompt, a chosen and a rejected answer",
}
PREFERENCE_ROLES = {"prompt_column": "prompt", "text_column": "chosen", "rejected_column": "rejected"}


LIKE_TURNS = re.compile(r"""\s*\[\s*\{\s*['"]?(?:role|from|content|value)\b""")
SENTENCE_WORDS = 4  # as many words are a sentence, and no name of a column
HALVES = (("input", "output"), ("source", "target"), ("input_text", "target_text"), ("input_text", "output_text"))
CELLS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def check_header(columns: Columns, mapping: ColumnMapping | None, name: str, observations: Observations) -> None:
    """A warning where the line that names the columns of a CSV file looks like a row, and nothing else says that it isn't one."""
    if not name.endswith(CELLS) or (mapping is not None and mapping.format != "text"):
        return
    names = columns.names if mapping is None else list(mapping.columns.values())
    sentence = next((cell for cell in names if len(cell.split()) >= SENTENCE_WORDS and "_" not in cell), None)
    if sentence is None:
        return
    message = f"{name}: its first line is taken for the header, the names of the columns, and looks like a row: {sentence[:60]!r}"
    fix = f"put the names first: sed -i '1i text' {name}"
    observations.say("D132", message, fix=fix, severity=WARNING, file=name, line=1, parameters=("data_path",))


def say_missing_columns(
    columns: Columns, request: DataRequest, name: str, observations: Observations, data_flag: str = "--data-path"
) -> bool:
    """One finding for all columns that the user named and that aren't there; whether there are any."""
    absent = [
        field for field in COLUMN_FLAGS if request.is_named(field) and getattr(request, field) not in columns.values
    ]
    if not absent or not columns.names:
        return False
    asked = " and ".join(f"{shown(getattr(request, field))} ({COLUMN_FLAGS[field]})" for field in absent)
    there = listed(nearest(getattr(request, absent[0]), columns.names))
    changes = _right_columns(columns, request, absent) if data_flag == "--data-path" else {}
    fix = None
    if data_flag != "--data-path":  # the flags name the columns of the rows that are trained on too
        fix = f"give these rows the columns of --data-path: rename one to {shown(getattr(request, absent[0]))}"
    elif not changes and absent == ["rejected_column"]:
        fix = (
            "add a column with the worse answer to each prompt; or --trainer sft, which learns from good answers alone"
        )
    observations.say(
        "D109",
        f"{name}{_given_by(data_flag)} has no column {asked}; it has: {there}",
        fix=fix,
        changes=changes,
        file=name,
        parameters=tuple(map(_parameter, absent)),
    )
    return True


def _given_by(data_flag: str) -> str:
    """Behind a file's name: the flag that it came with, where that is not the usual one."""
    return f" ({data_flag})" if data_flag != "--data-path" else ""


def _right_columns(columns: Columns, request: DataRequest, absent: list[str]) -> dict[str, Any]:
    """The columns that would be right: from what is recognised without flags, else the nearest name."""
    mapping = _recognised(columns, request)
    if mapping is not None and mapping.format == "preference":
        roles = [(field, role) for field, role in PREFERENCE_ROLES.items() if role in mapping.columns]
        right: dict[str, Any] = {_parameter(field): mapping.columns[role] for field, role in roles}
        begin_with_it = "prompt" not in mapping.columns and columns.kind(mapping.columns["chosen"]) == "turns"
        if begin_with_it and "prompt_column" in absent:
            right |= {_parameter("prompt_column"): None}
        return right
    near = {_parameter(field): close(getattr(request, field), columns.names) for field in absent}
    if all(near.values()):
        return near
    if mapping is not None:
        return dict.fromkeys(near)
    # What is named already is no other column, and of prompts and answers alone no worse answer can be guessed.
    named = {getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)}
    texts = [column for column in columns.texts() if column not in named]
    guessed = request.rows != "preferences" or (len(texts) == len(absent) == 1 and plain(texts[0]) not in QUESTIONS)
    return {_parameter(absent[0]): texts[0]} if texts and guessed else {}


def _recognised(columns: Columns, request: DataRequest) -> ColumnMapping | None:
    """What the columns are without any of them being named."""
    free = dataclasses.replace(request, named=(), text_column=None, prompt_column=None, rejected_column=None)
    return recognise(columns, free)


def _parameter(field: str) -> str:
    """The parameter that names a column."""
    return COLUMN_FLAGS[field].removeprefix("--").replace("-", "_")


def say_not_recognised(
    columns: Columns, request: DataRequest, name: str, observations: Observations, data_flag: str = "--data-path"
) -> None:
    """Nothing fits these columns: say what the trainer reads and what is there."""
    ids = holds_token_ids(columns)
    if ids is not None:
        message = f"{name} holds token ids ({ids}) and no text: whose tokenizer they are can't be known"
        fix = "decode them with the tokenizer that made them, and name the column: --text-column text"
        observations.say("D111", message, fix=fix, file=name, parameters=("text_column",))
        return
    if _say_too_deep(columns, request, name, observations) or _say_wrong_kind(columns, request, name, observations):
        return
    wants = WANTED["labelled" if request.trainer == "kto" else request.rows]
    there = ", ".join(_described(columns, column) for column in columns.names[:12])
    message = f"{request.trainer} needs {wants}, and {name}{_given_by(data_flag)} has: {there or 'no columns'}"
    row = min(columns.first_row.values(), default=None)
    observations.say(
        "D110",
        message,
        fix=_mending_fix(columns, request, name),
        file=name,
        row=row,
        parameters=_naming_parameters(request),
    )


def _mending_fix(columns: Columns, request: DataRequest, name: str) -> str:
    """What makes such columns into what the trainer reads: the kind of a column, a label, or the names."""
    if _holds_bytes(columns):
        return "save the column as text (UTF-8)"
    if request.trainer == "kto" and request.rejected_column not in columns.values and _find_pair(columns, request):
        return _label_fix(columns)
    numbers = columns.find(TEXT, "number", "flag")
    if numbers is not None and not columns.texts():
        if not name.endswith((".jsonl", ".ndjson")):
            return f"write {shown(numbers)} as text"
        return f"write it as text: jq -c '.[\"{numbers}\"] |= tostring' {name} > texts.jsonl"
    return _naming_fix(request)


def _find_pair(columns: Columns, request: DataRequest) -> bool:
    """Whether there is a prompt and an answer to it."""
    return recognise(columns, dataclasses.replace(request, rows="documents", trainer="generic")) is not None


def _label_fix(columns: Columns) -> str:
    """How answers get the label that says whether they are good."""
    judged = [name for name in columns.names if columns.kind(name) == "flag"]
    label = (
        f"rename {shown(judged[0])} to label, if it says whether an answer is good"
        if judged
        else 'add a column label: "label": true for a good answer, "label": false for a bad one'
    )
    return f"{label}; or, for pairs, --text-column with the better and --rejected-text-column with the worse answers"


def _holds_bytes(columns: Columns) -> bool:
    """Whether a column holds what may be text that was never decoded."""
    return any(isinstance(value, bytes) for values in columns.values.values() for value in values[:1])


def _described(columns: Columns, column: str) -> str:
    """A column with what it holds, where that is not text."""
    kind = columns.kind(column)
    if kind in ("text", "turns"):
        return shown(column)
    first = next(iter(columns.values[column]), None)
    held = {
        "nothing": "nothing",
        "list": "lists",
        "object": "objects",
        "number": "numbers",
        "flag": "true or false",
        "other": kind_of(first),
    }.get(kind, kind)
    inside = first[0] if isinstance(first, list) and first else first
    keys = f" with {listed(map(str, inside), 6)}" if isinstance(inside, dict) else ""
    return f"{shown(column)} ({held}{' of objects' if keys and kind == 'list' else ''}{keys})"


def _say_too_deep(columns: Columns, request: DataRequest, name: str, observations: Observations) -> bool:
    """Whether a column that is named, or any where none is, holds its turns in a list too many."""
    named = [getattr(request, field) for field in COLUMN_FLAGS if request.is_named(field)]
    for column, values in columns.values.items():
        if not values or not is_too_deep(values[0]) or (named and column not in named):
            continue
        fault, row = too_deep(shown(column)), columns.first_row[column]
        message, parameters = f"{name}, row {row}: {fault}", _naming_parameters(request)
        observations.say(fault.code, message, fix=fault.fix, file=name, row=row, parameters=parameters)
        return True
    return False


def _say_wrong_kind(columns: Columns, request: DataRequest, name: str, observations: Observations) -> bool:
    """Whether a named column is there and holds what can't be trained on."""
    for field, flag in COLUMN_FLAGS.items():
        column = getattr(request, field)
        if not request.is_named(field) or column not in columns.values:
            continue
        if columns.kind(column) in ("text", "turns", "nothing"):
            continue
        first = columns.values[column][0]
        held = "empty lists" if first == [] else kind_of(first)
        message = f"{flag} {shown(column)}: this column of {name} holds {held}, neither text nor messages"
        texts = columns.texts()
        observations.say(
            "D115",
            message,
            changes={_parameter(field): texts[0]} if texts else {},
            file=name,
            row=columns.first_row[column],
            parameters=(_parameter(field),),
        )
        return True
    return False


def _naming_parameters(request: DataRequest) -> tuple[str, ...]:
    """The parameters that name the columns a trainer reads."""
    if request.rows == "preferences":
        return ("prompt_text_column", "text_column", "rejected_text_column")
    if request.rows == "scored":
        return ("text_column", "rejected_text_column")
    return ("text_column",)


def _naming_fix(request: DataRequest) -> str:
    return "name the columns: " + " ".join(f"{flag_of(name)} …" for name in _naming_parameters(request))


def check_columns(
    columns: Columns, mapping: ColumnMapping, request: DataRequest, name: str, observations: Observations
) -> None:
    """What is legal and probably not meant: chosen and rejected swapped, one column for both."""
    if mapping.format == "text":
        _check_broken_turns(columns, mapping.columns["text"], name, observations)
    chosen, rejected = mapping.columns.get("chosen"), mapping.columns.get("rejected")
    if chosen is None or rejected is None:
        return
    flags = f"--text-column {shown(chosen)} --rejected-text-column {shown(rejected)}"
    if chosen == rejected:
        message = f"{flags}: chosen and rejected are the same column of {name}"
        observations.say(
            "D103", message, fix="name the rejected answers", file=name, parameters=("rejected_text_column",)
        )
    elif plain(chosen) in REJECTED and plain(rejected) in CHOSEN:
        message = f"{flags}: by their names these two are swapped, and the model would learn to give the worse answer"
        changes = {"text_column": rejected, "rejected_text_column": chosen}
        parameters = ("text_column", "rejected_text_column")
        observations.say("D119", message, changes=changes, severity=WARNING, file=name, parameters=parameters)


def check_column_beside(
    columns: Columns, mapping: ColumnMapping, request: DataRequest, name: str, observations: Observations
) -> None:
    """A warning where the one column that is named holds prompts or answers, and the other half stands beside it, never to be seen."""
    named = request.text_column
    if mapping.format != "text" or named is None or not request.is_named("text_column"):
        return
    whole = _recognised(columns, request)
    if whole is None or whole.format not in ("alpaca", "prompt/completion"):
        return
    answers = whole.columns.get("output") or whole.columns["completion"]
    asked = [column for role, column in whole.columns.items() if role in ("instruction", "prompt")]
    if named not in (*asked, answers):
        return
    other = asked[0] if named == answers else answers
    if not _are_halves(asked[0], answers) or not _says_more(columns, named, other):
        return
    if named == answers:
        what = f"{shown(other)}, which holds what they answer, is never seen"
    else:
        what = f"{shown(other)}, which holds the answers, is never learnt"
    observations.say(
        "D167",
        f"--text-column {shown(named)}: of {name} this column alone is learnt; {what}",
        changes={"text_column": None},
        otherwise=f"and {shown(asked[0])} is answered with {shown(answers)}",
        severity=WARNING,
        file=name,
        row=columns.first_row.get(other),
        parameters=("text_column",),
    )


def _are_halves(prompt: str, answer: str) -> bool:
    """Whether two names can only mean a prompt and its answer: `source` alone may as well say where a text is from."""
    return plain(prompt) in QUESTIONS or (plain(prompt), plain(answer)) in HALVES


def _says_more(columns: Columns, named: str, other: str) -> bool:
    """Whether a column holds text that differs from row to row and isn't part of the one that is named."""
    here, there = columns.values[named], columns.values[other]
    varied = len(set(map(str, there))) > 1 or len(there) == 1
    if not here or not there or not varied:
        return False
    return sum(str(part) in str(whole) for whole, part in zip(here, there, strict=False)) * 2 < len(there)


def _check_broken_turns(columns: Columns, column: str, name: str, observations: Observations) -> None:
    """A warning where a text is a list of turns that can't be read as one."""
    values = [value for value in columns.values[column] if isinstance(value, str)]
    broken = [value for value in values if LIKE_TURNS.match(value)]
    if not values or len(broken) * 2 < len(values):
        return
    message = (
        f"{name}, row 1: {shown(column)} looks like messages, a list of turns, and is text that is neither JSON nor what Python writes: "
        f"{broken[0][:40]!r}; it is learnt as plain text"
    )
    observations.say(
        "D115",
        message,
        fix="write it with json.dumps, or as a list rather than text",
        severity=WARNING,
        file=name,
        row=1,
        parameters=("text_column",),
    )
