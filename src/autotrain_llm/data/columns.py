"""What can be said about columns: named ones that are absent, ones that were swapped, and rows that nothing fits."""

from __future__ import annotations

import dataclasses
from typing import Any

from autotrain_llm.data.faults import Faults
from autotrain_llm.data.recognise import CHOSEN, REJECTED, Columns, Layout, holds_token_ids, recognise
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.data.wording import close, kind_of, listed, nearest, plain, shown
from autotrain_llm.declare.finding import WARNING

WANTED = {
    "documents": "a column of text (text), prompt and completion, or messages",
    "conversations": "messages, prompt and completion, instruction and output, or text",
    "preferences": "a prompt, a chosen and a rejected answer",
    "scored": "a chosen and a rejected answer",
    "prompts": "a prompt",
}
PREFERENCE_ROLES = {"prompt_column": "prompt", "text_column": "chosen", "rejected_column": "rejected"}


def say_missing_columns(columns: Columns, request: DataRequest, name: str, faults: Faults) -> bool:
    """One finding for all columns that the user named and that aren't there; whether there are any."""
    absent = [
        field for field in COLUMN_FLAGS if request.is_named(field) and getattr(request, field) not in columns.values
    ]
    if not absent or not columns.names:
        return False
    asked = " and ".join(f"{shown(getattr(request, field))} ({COLUMN_FLAGS[field]})" for field in absent)
    there = listed(nearest(getattr(request, absent[0]), columns.names))
    faults.say(
        "D109",
        f"{name} has no column {asked}; it has: {there}",
        changes=_right_columns(columns, request, absent),
        file=name,
        parameters=tuple(absent),
    )
    return True


def _right_columns(columns: Columns, request: DataRequest, absent: list[str]) -> dict[str, Any]:
    """The columns that would be right: from what is recognised without flags, else the nearest name."""
    layout = _recognised(columns, request)
    if layout is not None and layout.format == "preference":
        roles = [(field, role) for field, role in PREFERENCE_ROLES.items() if role in layout.columns]
        return {_parameter(field): layout.columns[role] for field, role in roles}
    near = {_parameter(field): close(getattr(request, field), columns.names) for field in absent}
    if all(near.values()):
        return near
    if layout is not None:
        return dict.fromkeys(near)
    texts = columns.texts()
    return {_parameter(absent[0]): texts[0]} if texts else {}


def _recognised(columns: Columns, request: DataRequest) -> Layout | None:
    """What the columns are without any of them being named."""
    free = dataclasses.replace(request, named=(), text_column=None, prompt_column=None, rejected_column=None)
    return recognise(columns, free)


def _parameter(field: str) -> str:
    """The parameter that names a column."""
    return COLUMN_FLAGS[field].removeprefix("--").replace("-", "_")


def say_not_recognised(columns: Columns, request: DataRequest, name: str, faults: Faults) -> None:
    """Nothing fits these columns: say what the trainer reads and what is there."""
    ids = holds_token_ids(columns)
    if ids is not None:
        message = f"{name} holds token ids ({ids}) and no text: whose tokenizer they are can't be known"
        fix = "decode them with the tokenizer that made them, and name the column: --text-column text"
        faults.say("D111", message, fix=fix, file=name, parameters=("text_column",))
        return
    if _say_wrong_kind(columns, request, name, faults):
        return
    wants = WANTED[request.rows]
    message = f"{request.trainer} needs {wants}, and {name} has: {listed(columns.names) or 'no columns'}"
    faults.say("D110", message, fix=_naming_fix(request), file=name, parameters=_naming_fields(request))


def _say_wrong_kind(columns: Columns, request: DataRequest, name: str, faults: Faults) -> bool:
    """Whether a named column is there and holds what can't be trained on."""
    for field, flag in COLUMN_FLAGS.items():
        column = getattr(request, field)
        if not request.is_named(field) or column not in columns.values:
            continue
        if columns.kind(column) in ("text", "turns", "nothing"):
            continue
        first = columns.values[column][0]
        message = f"{flag} {shown(column)}: this column of {name} holds {kind_of(first)}, neither text nor messages"
        texts = columns.texts()
        faults.say(
            "D115",
            message,
            changes={_parameter(field): texts[0]} if texts else {},
            file=name,
            row=1,
            parameters=(field,),
        )
        return True
    return False


def _naming_fields(request: DataRequest) -> tuple[str, ...]:
    if request.rows == "preferences":
        return ("prompt_column", "text_column", "rejected_column")
    if request.rows == "scored":
        return ("text_column", "rejected_column")
    return ("prompt_column",) if request.rows == "prompts" else ("text_column",)


def _naming_fix(request: DataRequest) -> str:
    flags = " ".join(f"{COLUMN_FLAGS[field]} …" for field in _naming_fields(request))
    return f"name the columns: {flags}"


def check_columns(columns: Columns, layout: Layout, request: DataRequest, name: str, faults: Faults) -> None:
    """What is legal and probably not meant: chosen and rejected swapped, one column for both."""
    chosen, rejected = layout.columns.get("chosen"), layout.columns.get("rejected")
    if chosen is None or rejected is None:
        return
    flags = f"--text-column {shown(chosen)} --rejected-text-column {shown(rejected)}"
    if chosen == rejected:
        message = f"{flags}: chosen and rejected are the same column of {name}"
        faults.say("D103", message, fix="name the rejected answers", file=name, parameters=("rejected_column",))
    elif plain(chosen) in REJECTED and plain(rejected) in CHOSEN:
        message = f"{flags}: by their names these two are swapped, and the model would learn to give the worse answer"
        changes = {"text_column": rejected, "rejected_text_column": chosen}
        parameters = ("text_column", "rejected_column")
        faults.say("D119", message, changes=changes, severity=WARNING, file=name, parameters=parameters)
