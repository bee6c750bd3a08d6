"""Conversations in any of the usual spellings to one: `[{"role": "user", "content": "…"}, …]`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from autotrain_llm.data.example import Message
from autotrain_llm.data.formats.blocks import CALL, RESULT, THOUGHT, read_block
from autotrain_llm.data.observations import RowUnusable
from autotrain_llm.data.rules.columns import a_cell_has_the_wrong_type, a_cell_is_empty
from autotrain_llm.data.rules.conversations import (
    a_mark_can_not_be_followed,
    a_turn_has_an_unknown_role,
    a_turn_has_no_content,
    a_turn_holds_something_other_than_text,
)
from autotrain_llm.data.turns import (
    CONTENT_KEYS,
    KEPT_KEYS,
    MASKED_KEYS,
    NUMBERS,
    ROLE_KEYS,
    ROLES,
    SPEAKER_FLAGS,
    TRAINED_KEYS,
    as_spoken,
    content_key,
    exchange_keys,
    is_alternating,
    is_too_deep,
    parsed,
    turns_inside,
)
from autotrain_llm.data.wording import kind_of, quoted, shown
from autotrain_llm.declare.nearest import nearest

EXAMPLE = 30  # characters of a text that a finding shows
# The types of parts that are text, those of Telegram's formats among them.
TEXT_PARTS = frozenset(
    (
        "text", "input_text", "output_text", "plain", "link", "text_link", "bold", "italic", "underline", "strikethrough", "spoiler", "code", "pre",
        "mention", "mention_name", "hashtag", "cashtag", "email", "phone", "bot_command", "blockquote", "custom_emoji",
    )
)  # fmt: skip
KEPT_ROLES = ("user", "assistant", "system", "tool")
THOUGHT_ROLE = "thought"
IN_THINK = re.compile(r"\s*<think(?:ing)?>(.*?)</think(?:ing)?>\s*", re.DOTALL)
MARK = re.compile(r"train|loss|mask|weight")
OFF, ON = (False, 0, "0", "false", "no"), (True, 1, "1", "true", "yes")
# The text of a turn in MOSS's tags, `<|Human|>: …<eoh>`.
TAGGED = re.compile(r"\s*<\|[\w ]+\|>:(.*?)(?:<eo\w>)?\s*", re.DOTALL)


class Unread(dict[str, Any]):
    """What no reader asked for, by its path in the cell, with an example. Of a conversation also its messages, and the role and the rest of each
    turn that has one."""

    __slots__ = ("left", "messages")

    def __init__(self) -> None:
        super().__init__()
        self.left: list[tuple[str, dict[str, Any]]] = []
        self.messages: list[Message] = []


def conversation(value: Any, column: str, unread: Unread | None = None) -> list[Message]:
    """The turns in a cell; keys that are not read are added to `unread`. Raises RowUnusable if a turn can't be read.

    A turn with `weight` 0 is not trained on.
    """
    unread = Unread() if unread is None else unread
    unread.messages = _read(parsed(value), column, unread)
    return unread.messages


def _read(value: Any, column: str, unread: Unread) -> list[Message]:
    value, others = turns_inside(value)
    unread.update({key: part for key, part in others.items() if key != "tools"})
    if isinstance(value, dict):
        value = _side_by_side(value)
    if not isinstance(value, list):
        raise RowUnusable(a_cell_has_the_wrong_type, column=column, case="not turns", content=kind_of(value))
    if not value:
        raise RowUnusable(a_cell_is_empty, column=column)
    if isinstance(value[0], list) and is_too_deep(value):
        raise RowUnusable(a_cell_has_the_wrong_type, column=column, case="too deep")
    if isinstance(value[0], str) and is_alternating(value):
        return alternating(value)
    if exchange_keys(value[0]) is not None and all(exchange_keys(part) is not None for part in value):
        return [turn for part in value for turn in _exchange(part, unread)]
    turns = list(map(as_spoken, value))
    try:
        messages = [
            message
            for turn_number, turn in enumerate(turns, 1)
            for message in _turns(turn, turn_number, column, unread)
        ]
        return list(_with_thoughts(messages))
    except RowUnusable as problem:
        if problem.rule is not a_turn_has_an_unknown_role or len(turns) < 2:
            raise
        if any(map(_has_known_role, turns)):
            roles = sorted(_unknown_roles(turns) - {problem.facts["role"]})
            raise RowUnusable(problem.rule, problem.group, **problem.facts, others=roles) from problem
        keys = keys_with_examples([turn for turn in turns if isinstance(turn, dict)])
        raise RowUnusable(problem.rule, ("no role", column), **problem.facts, keys=keys) from problem


def alternating(texts: list[str]) -> list[Message]:
    """Texts as alternating turns of user and assistant, the user first."""
    return [{"role": KEPT_ROLES[at % 2], "content": text} for at, text in enumerate(texts)]


def earlier_turns(value: Any, column: str, unread: Unread) -> list[Message] | str:
    """A history: pairs, turns, questions with answers or alternating texts, as turns; plain text as it is. Raises RowUnusable for anything else."""
    value = parsed(value)
    if isinstance(value, str):
        return value.strip()
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(part, list) and len(part) == 2 for part in value):
        texts = [text for pair in value for text in pair]
        if all(isinstance(text, str) for text in texts):
            return alternating(texts)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return alternating(value)
    return conversation(value, column, unread)


def _with_thoughts(messages: list[Message]) -> Iterator[Message]:
    """Turns, with those that are thoughts as the reasoning of the assistant's turn after them; thoughts that nothing follows are an answer."""
    thoughts: list[str] = []
    for message in messages:
        if message["role"] == THOUGHT_ROLE:
            thoughts.append(_without_think(str(message.get("content") or "")))
        elif thoughts and message["role"] == "assistant" and not message.get("reasoning_content"):
            yield {**message, "reasoning_content": "\n\n".join(thoughts)}
            thoughts = []
        else:
            yield from _as_answer(thoughts)
            thoughts = []
            yield message
    yield from _as_answer(thoughts)


def _as_answer(thoughts: list[str]) -> list[Message]:
    """Thoughts as a turn of the assistant's own."""
    return [{"role": "assistant", "content": "\n\n".join(thoughts)}] if thoughts else []


def _without_think(text: str) -> str:
    inside = IN_THINK.fullmatch(text)
    return inside[1].strip() if inside else text


def _unknown_roles(turns: Sequence[Any]) -> set[str]:
    """What turns have as their roles that no tool is known to write."""
    unknown = set()
    for turn in turns:
        try:
            _role(dict(turn) if isinstance(turn, dict) else {}, 1, "")
        except RowUnusable as problem:
            unknown.add(problem.facts["role"])
    return unknown


def _side_by_side(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """A single turn; or all of them where an object of columns holds them, `{"role": ["user", …], "content": ["…", …]}`."""
    lists = [value for value in turn.values() if isinstance(value, list)]
    roles = next((turn[key] for key in ROLE_KEYS if key in turn), None)
    if not isinstance(roles, list) or len(lists) != len(turn) or any(len(one) != len(roles) for one in lists):
        return [turn]
    return [dict(zip(turn, values, strict=True)) for values in zip(*lists, strict=True)]


def _exchange(value: dict[str, Any], unread: Unread) -> Iterator[Message]:
    """The two turns of a question with its answer, after a system prompt beside them."""
    question, answer = exchange_keys(value) or ("", "")
    rest = {key: _without_tags(part) for key, part in value.items() if key not in (question, answer)}
    system = rest.pop("system", None)
    if isinstance(system, str) and system.strip():
        yield {"role": "system", "content": system}
    asking = _without_tags(value[question])
    if asking.strip():  # without a question the answer is all there is, as where texts are trained on
        yield {"role": "user", "content": asking}
    yield {"role": "assistant", "content": _without_tags(value[answer])} | _training(rest, "assistant")
    _leave_turn(rest, unread, "assistant")


def _without_tags(part: Any) -> Any:
    """A text without MOSS's tags around it; empty where they have `None` between them."""
    tagged = TAGGED.fullmatch(part) if isinstance(part, str) else None
    if tagged is None:
        return part
    return "" if tagged[1].strip() == "None" else tagged[1].strip()


def _turns(turn: Any, turn_number: int, column: str, unread: Unread) -> Iterator[Message]:
    """The messages of one turn: the results of tools among its blocks are turns of their own, before the rest of it."""
    key = content_key(turn) if isinstance(turn, dict) else None
    blocks = turn[key] if key is not None else None
    if not isinstance(blocks, list):
        yield _turn(turn, turn_number, column, unread)
        return
    others = []
    for part in blocks:
        block = read_block(part)
        if block is None or block.kind != RESULT:
            others.append(part)
            continue
        content = "" if block.content is None else block.content
        text = _content(content, turn_number, "tool", column, unread)
        named = {"name": block.name, "tool_call_id": block.id}
        yield {"role": "tool", "content": text} | {key: value for key, value in named.items() if value is not None}
        _leave({key: part for key, part in block.rest.items() if part is not False}, unread, "content.")
    if others or not blocks:
        yield _turn({**turn, key: others} if len(others) < len(blocks) else turn, turn_number, column, unread)


def _turn(turn: Any, turn_number: int, column: str, unread: Unread) -> Message:
    if isinstance(turn, dict) and len(turn) == 2:  # as nearly all are
        role, content = turn.get("role"), turn.get("content")
        if isinstance(content, str) and isinstance(role, str) and role in KEPT_ROLES:
            return {"role": role, "content": content}
    if not isinstance(turn, dict):
        raise RowUnusable(
            a_cell_has_the_wrong_type, column=column, case="turn", content=kind_of(turn), turn=turn_number
        )
    rest = dict(turn)  # what is read is taken out of it; what is left was not
    key = content_key(turn)
    role = _role(rest, turn_number, column)
    message: Message = {"role": role if role != "call" else "assistant"}
    calls = _calls(rest, role, unread)
    key = key if role != "call" or not calls else None
    if key is not None and isinstance(rest[key], list):
        calls += _take_blocks(rest, key, unread)
        key = key if rest[key] is not None else None
    if key is None and role == "system" and rest.get("system_prompt") is not None:
        key = "system_prompt"
    content = rest.pop(key) if key is not None else rest.pop("refusal", None)
    if content is None and not calls:
        named = (*NUMBERS, "name", "tool_call_id")
        unread_keys = [
            key for key, value in rest.items() if value and isinstance(value, str | list | dict) and key not in named
        ]
        facts = {"turn": turn_number, "column": column, "role": message["role"], "others": unread_keys}
        raise RowUnusable(a_turn_has_no_content, ("no content", *unread_keys), **facts)
    if content is not None:
        message["content"] = _content(content, turn_number, message["role"], column, unread)
    if calls:
        message["tool_calls"] = calls
    message |= {key: rest.pop(key) for key in KEPT_KEYS if rest.get(key) is not None}
    message |= _training(rest, message["role"])
    mark = next((key for key in rest if MARK.search(key) and rest[key] not in (None, "", [], {})), None)
    if mark is not None and message["role"] == "assistant":
        facts = {"turn": turn_number, "column": column, "key": mark, "value": str(rest[mark])[:40]}
        raise RowUnusable(a_mark_can_not_be_followed, ("mark", column, mark), **facts)
    _leave_turn(rest, unread, message["role"])
    return message


def _take_blocks(rest: dict[str, Any], key: str, unread: Unread) -> list[dict[str, Any]]:
    """Take calls of tools and thoughts out of the blocks of a turn's content; the calls are returned, the thoughts are put beside the content."""
    calls, thoughts, others = [], [], []
    for part in rest[key]:
        block = read_block(part)
        if block is None:
            others.append(part)
        elif block.kind == CALL:
            named = {"id": block.id, "name": block.name, "arguments": block.content}
            calls.append(_call(named | block.rest, unread))
        elif block.kind == THOUGHT:
            thoughts.append(block.content)
            _leave(block.rest, unread, "content.")
    if thoughts:
        rest.setdefault("reasoning_content", "\n\n".join(thoughts))
    if calls or thoughts:
        rest[key] = others or (None if calls else "")
    return calls


def _leave(rest: dict[str, Any], unread: Unread, inside: str = "") -> None:
    """Record the keys of an object that were not read, except empty ones and those that only number it."""
    for key, value in rest.items():
        if key not in NUMBERS and value not in (None, "", [], {}):
            unread.setdefault(f"{inside}{key}", value)


def _leave_turn(rest: dict[str, Any], unread: Unread, role: str) -> None:
    """Record the keys of a turn that were not read."""
    if rest:
        _leave(rest, unread)
        unread.left.append(
            (role, {key: value for key, value in rest.items() if key not in NUMBERS and value is not None})
        )


def _training(rest: dict[str, Any], role: str) -> dict[str, int]:
    """`weight` 0 if a turn is marked as not to be trained on. A mark that has no effect stays in `rest`, so that it is named."""
    is_trained = True
    for key in (*TRAINED_KEYS, *MASKED_KEYS):
        mark = rest[key].strip().lower() if isinstance(rest.get(key), str) else rest.get(key)
        is_off, is_on = mark in OFF, mark in ON
        if key in MASKED_KEYS:
            is_off, is_on = is_on, is_off
        if is_off or (is_on and role == "assistant"):
            del rest[key]
            is_trained = is_trained and not is_off
    return {} if is_trained or role != "assistant" else {"weight": 0}


def _has_known_role(turn: Any) -> bool:
    """Whether a turn says in any of the known ways who speaks."""
    try:
        return isinstance(turn, dict) and bool(_role(dict(turn), 1, ""))
    except RowUnusable:
        return False


def keys_with_examples(objects: Sequence[dict[str, Any]]) -> list[str]:
    """The keys of these objects under which texts are, with up to three different ones; those that may say who speaks and what come first."""
    texts: dict[str, list[str]] = {}
    for one in objects:
        for key, value in one.items():
            if isinstance(value, str) and value.strip() and key not in NUMBERS:
                found = texts.setdefault(key, [])
                if len(found) < 3 and value not in found:
                    found.append(value)
    first = [key for key in (*ROLE_KEYS, *CONTENT_KEYS) if key in texts]
    names = [*first, *(key for key in texts if key not in first)]
    return [f"{shown(key)} ({', '.join(map(_beginning, texts[key]))})" for key in names]


def _beginning(text: str) -> str:
    return shown(text) if len(text) <= EXAMPLE else quoted(text, EXAMPLE)


def _role(rest: dict[str, Any], turn_number: int, column: str) -> str:
    key = next((key for key in ROLE_KEYS if key in rest), None)
    written_role = rest.pop(key) if key is not None else None
    flag = next((name for name in SPEAKER_FLAGS if key is None and type(rest.get(name)) is bool), None)
    if flag is not None:
        others = {"user": "assistant", "assistant": "user"}
        return SPEAKER_FLAGS[flag] if rest.pop(flag) else others[SPEAKER_FLAGS[flag]]
    if isinstance(written_role, dict):  # {"author": {"role": "user"}, …}
        written_role = written_role.get("role")
    role = ROLES.get(written_role.strip().lower()) if isinstance(written_role, str) else None
    if role is not None:
        return role
    near = nearest(str(written_role), ROLES)
    raise RowUnusable(
        a_turn_has_an_unknown_role,
        turn=turn_number,
        column=column,
        role=repr(written_role),
        nearest=ROLES[near] if near else None,
    )


def _content(content: Any, turn_number: int, role: str, column: str, unread: Unread) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (_json_part(part) if role == "tool" else part for part in content)
        return "".join(_part(part, turn_number, column, unread) for part in parts)
    if role == "tool" and isinstance(content, dict | int | float):
        return json.dumps(content, ensure_ascii=False)
    raise RowUnusable(
        a_cell_has_the_wrong_type, column=column, case="content", content=kind_of(content), turn=turn_number, role=role
    )


def _json_part(part: Any) -> Any:
    """A part of a tool's result that is an object, as Bedrock writes it, as text; any other part unchanged."""
    is_object = isinstance(part, dict) and part.keys() == {"json"}
    return json.dumps(part["json"], ensure_ascii=False) if is_object else part


def _part(part: Any, turn_number: int, column: str, unread: Unread) -> str:
    if isinstance(part, str):
        return part
    is_object = isinstance(part, dict)
    if is_object and isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PARTS:
        _leave({key: value for key, value in part.items() if key not in ("type", "text")}, unread, "content.")
        return part["text"]
    kind = part.get("type", next(iter(part), "unknown")) if is_object else kind_of(part)
    raise RowUnusable(a_turn_holds_something_other_than_text, turn=turn_number, column=column, kind=repr(kind))


def _calls(rest: dict[str, Any], role: str, unread: Unread) -> list[dict[str, Any]]:
    """Tool calls with their arguments as an object, which is what chat templates expect."""
    if role == "call":
        key = next((key for key in CONTENT_KEYS if rest.get(key) is not None), "content")
        content = parsed(rest.get(key))
        if not isinstance(content, str):
            rest.pop(key, None)
        calls = content if isinstance(content, list) else [content]
    else:
        calls = parsed(rest.pop("tool_calls", None)) or []
        # OpenAI's older form has one call, and some data sets write it as JSON; text that is no call stays, so that it is named.
        single = parsed(rest.get("function_call"))
        if isinstance(single, dict) or not single:
            rest.pop("function_call", None)
        calls = calls or ([single] if single else [])
    return [_call(call, unread) for call in calls if isinstance(call, dict)]


def _call(call: dict[str, Any], unread: Unread) -> dict[str, Any]:
    rest = dict(call)
    inner = rest.pop("function", None)
    function = dict(inner) if isinstance(inner, dict) else {"name": inner} if isinstance(inner, str) else {}
    if "args" in rest:  # LangChain
        rest.setdefault("arguments", rest.pop("args"))
    for key, kept in (
        ("name", "name"),
        ("function_name", "name"),
        ("arguments", "arguments"),
        ("parameters", "parameters"),
    ):
        if key in rest:
            function.setdefault(kept, rest.pop(key))
    arguments = function.pop("arguments", None)
    if arguments is None:
        arguments = function.pop("parameters", None)
    if "tool_call_id" in rest:
        rest.setdefault("id", rest.pop("tool_call_id"))
    identity = {key: rest.pop(key) for key in ("id",) if rest.get(key) is not None}
    if rest.get("type") == "function":
        del rest["type"]
    _leave(rest, unread, "tool_calls.")
    _leave({key: value for key, value in function.items() if key != "name"}, unread, "tool_calls.function.")
    named = {"name": function["name"]} if "name" in function else {}
    return {
        **identity,
        "type": "function",
        "function": named | {"arguments": {} if arguments is None else parsed(arguments)},
    }


def spelling(value: Any) -> str:
    """`sharegpt` for turns written with from and value, else `messages`."""
    value = parsed(value)
    first = value[0] if isinstance(value, list) and value else value
    return "sharegpt" if isinstance(first, dict) and "from" in first and "role" not in first else "messages"
