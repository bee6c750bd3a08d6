"""Conversations in any of the usual spellings to one: `[{"role": "user", "content": "…"}, …]`."""

from __future__ import annotations

import ast
import json
from typing import Any

from autotrain_llm.data.example import Message
from autotrain_llm.data.observations import RowUnusable
from autotrain_llm.data.rules.columns import a_cell_has_the_wrong_type, a_cell_is_empty
from autotrain_llm.data.rules.conversations import (
    a_turn_has_an_unknown_role,
    a_turn_has_no_content,
    a_turn_holds_something_other_than_text,
)
from autotrain_llm.data.wording import close, kind_of

ROLE_KEYS = ("role", "from", "speaker", "author")
CONTENT_KEYS = ("content", "value", "text", "message")
ROLES = {
    "user": "user", "human": "user", "prompter": "user", "customer": "user", "question": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "bard": "assistant", "bing": "assistant", "answer": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool",
    "function_call": "call", "tool_call": "call",
}  # fmt: skip
KEPT_ROLES = ("user", "assistant", "system", "tool")
KEPT = ("name", "tool_call_id", "reasoning_content", "thinking", "reasoning", "weight")


def parsed(value: Any) -> Any:
    """A list or object written into a text cell, as JSON or as Python writes it; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def is_turn(value: Any) -> bool:
    """Whether this is one turn of a conversation."""
    return (
        isinstance(value, dict)
        and any(key in value for key in ROLE_KEYS)
        and any(key in value for key in (*CONTENT_KEYS, "tool_calls"))
    )


def is_conversation(value: Any) -> bool:
    """Whether this is a list of turns, or a single one; written into a text cell, too."""
    value = parsed(value)
    return is_turn(value) or (isinstance(value, list) and bool(value) and any(is_turn(turn) for turn in value))


def _side_by_side(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A single turn; or all of them where an object of columns holds them, `{"role": ["user", …], "content": ["…", …]}`."""
    lists = [value for value in turn.values() if isinstance(value, list)]
    roles = next((turn[key] for key in ROLE_KEYS if key in turn), None)
    if not isinstance(roles, list) or len(lists) != len(turn) or any(len(one) != len(roles) for one in lists):
        return [turn]
    return [dict(zip(turn, values, strict=True)) for values in zip(*lists, strict=True)]


def is_too_deep(value: Any) -> bool:
    """Whether turns stand in a list within a list, `[[{"role": …}]]`, where a list of turns belongs."""
    value = parsed(value)
    inner = next((part for part in value if isinstance(part, list)), None) if isinstance(value, list) else None
    return inner is not None and (is_conversation(inner) or is_too_deep(inner))


def conversation(value: Any, column: str) -> list[Message]:
    """The turns in a cell. Raises RowUnusable where a turn can't be read."""
    value = parsed(value)
    if isinstance(value, dict):
        value = _side_by_side(value)
    if not isinstance(value, list):
        raise RowUnusable(a_cell_has_the_wrong_type, column=column, case="not turns", content=kind_of(value))
    if not value:
        raise RowUnusable(a_cell_is_empty, column=column)
    if isinstance(value[0], list) and is_too_deep(value):
        raise RowUnusable(a_cell_has_the_wrong_type, column=column, case="too deep")
    return [_turn(turn, number, column) for number, turn in enumerate(value, 1)]


def _turn(turn: Any, number: int, column: str) -> Message:
    if isinstance(turn, dict) and len(turn) == 2:  # as nearly all are
        role, content = turn.get("role"), turn.get("content")
        if isinstance(content, str) and isinstance(role, str) and role in KEPT_ROLES:
            return {"role": role, "content": content}
    if not isinstance(turn, dict):
        raise RowUnusable(a_cell_has_the_wrong_type, column=column, case="turn", content=kind_of(turn), turn=number)
    given = next((turn[key] for key in ROLE_KEYS if key in turn), None)
    role = _role(given, number, column)
    message: Message = {"role": role if role != "call" else "assistant"}
    calls = _calls(turn, role)
    content = next((turn[key] for key in CONTENT_KEYS if key in turn), None) if role != "call" else None
    if content is not None or not calls:
        message["content"] = _content(content, number, message["role"], column)
    if calls:
        message["tool_calls"] = calls
    message.update({key: turn[key] for key in KEPT if turn.get(key) is not None})
    return message


def _role(given: Any, number: int, column: str) -> str:
    if isinstance(given, dict):  # {"author": {"role": "user"}, …}
        given = given.get("role")
    role = ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if role is not None:
        return role
    near = close(str(given), ROLES)
    raise RowUnusable(
        a_turn_has_an_unknown_role, turn=number, column=column, role=repr(given), nearest=ROLES[near] if near else None
    )


def _content(content: Any, number: int, role: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(part, number, column) for part in content)
    if content is None:
        raise RowUnusable(a_turn_has_no_content, turn=number, column=column, role=role)
    if role == "tool" and isinstance(content, dict):
        return json.dumps(content, ensure_ascii=False)
    raise RowUnusable(
        a_cell_has_the_wrong_type, column=column, case="content", content=kind_of(content), turn=number, role=role
    )


def _part(part: Any, number: int, column: str) -> str:
    if isinstance(part, str):
        return part
    is_object = isinstance(part, dict)
    if is_object and isinstance(part.get("text"), str) and part.get("type", "text") in ("text", "input_text"):
        return part["text"]
    kind = part.get("type", "unknown") if is_object else kind_of(part)
    raise RowUnusable(a_turn_holds_something_other_than_text, turn=number, column=column, kind=repr(kind))


def _calls(turn: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """Tool calls with their arguments as an object, which is what chat templates expect."""
    if role == "call":
        content = parsed(next((turn[key] for key in CONTENT_KEYS if key in turn), None))
        calls = content if isinstance(content, list) else [content]
    else:
        calls = parsed(turn.get("tool_calls")) or ([turn["function_call"]] if turn.get("function_call") else [])
    return [_call(call) for call in calls if isinstance(call, dict)]


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {key: call[key] for key in ("name", "arguments") if key in call})
    function["arguments"] = parsed(function.get("arguments", {}))
    identity = {key: call[key] for key in ("id",) if call.get(key) is not None}
    return {**identity, "type": "function", "function": function}


def spelling(value: Any) -> str:
    """`sharegpt` for turns written with from and value, else `messages`."""
    value = parsed(value)
    first = value[0] if isinstance(value, list) and value else value
    return "sharegpt" if isinstance(first, dict) and "from" in first and "role" not in first else "messages"
