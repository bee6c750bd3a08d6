"""Recognise turns of a conversation by their keys."""

from __future__ import annotations

import ast
import re
from typing import Any

from autotrain_llm.data.wording import plain
from autotrain_llm.declare.document import parse_json

ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
CONTENT_KEYS = ("content", "value", "text", "message", "parts")
ROLES = {
    "user": "user", "human": "user", "prompter": "user", "customer": "user", "client": "user", "question": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "ai": "assistant", "chatbot": "assistant", "bard": "assistant", "bing": "assistant", "answer": "assistant", "agent": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool", "tool_response": "tool", "tool_output": "tool",
    "tool_result": "tool", "environment": "tool", "env": "tool",
    "function_call": "call", "tool_call": "call",
    "reasoning": "thought", "thinking": "thought", "thought": "thought", "thoughts": "thought",
}  # fmt: skip
# Words that are those of speakers under any key; others, such as `question`, may sort something else.
SPEAKERS = frozenset(
    ("user", "human", "prompter", "customer", "client", "assistant", "gpt", "bot", "model", "chatgpt", "ai", "chatbot", "agent", "system", "tool")
)  # fmt: skip
# Who speaks, as a flag: the role of a turn where it is true.
SPEAKER_FLAGS = {
    "is_human": "user", "is_user": "user", "from_user": "user", "is_bot": "assistant", "is_assistant": "assistant", "is_ai": "assistant",
}  # fmt: skip
LANGCHAIN = ("human", "ai", "system", "tool")  # the types of its messages
LANGCHAIN_CLASSES = {"HumanMessage": "human", "AIMessage": "ai", "SystemMessage": "system", "ToolMessage": "tool"}
CALL_KEYS = ("tool_calls", "function_call")
# Given to the chat template as they are; the first is the key that most templates read.
THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning")
KEPT_KEYS = ("name", "tool_call_id", *THOUGHT_KEYS)
# Whether a turn is trained on, as different tools write it; `masked` says the opposite.
TRAINED_KEYS = ("loss", "train", "trainable", "weight")
MASKED_KEYS = ("masked", "mask")
TURN_KEYS = frozenset((*ROLE_KEYS, *CONTENT_KEYS, *CALL_KEYS, *KEPT_KEYS, *TRAINED_KEYS, *MASKED_KEYS, *SPEAKER_FLAGS))
SPOKEN_KEYS = frozenset((*CONTENT_KEYS, *CALL_KEYS, "system_prompt", "refusal"))
# Keys that say which turn it is, and nothing of what is in it.
NUMBERS = frozenset(
    (
        "id", "uuid", "idx", "index", "turn", "turn_id", "message_id", "msg_id", "parent", "parent_id", "children", "timestamp", "time",
        "date", "created_at", "updated_at", "cache_control",
    )
)  # fmt: skip
# A question with its answer in one object, `{"human": "…", "assistant": "…"}`.
QUESTION_KEYS = ("human", "user", "question", "query", "prompt", "instruction", "input")
ANSWER_KEYS = ("assistant", "gpt", "bot", "model", "answer", "response", "output", "completion", "moss")
NUMBERED = re.compile(r"turn_?(\d+)")
NUMBERED_COLUMN = re.compile(r"(?:turn|message|msg|utterance)_?(\d+)")


def says_something(turn: dict[str, Any]) -> bool:
    """Whether a turn has any content, call or reasoning."""
    return bool(str(turn.get("content") or "").strip()) or any(turn.get(key) for key in ("tool_calls", *THOUGHT_KEYS))


def parsed(value: Any) -> Any:
    """The list or object that a text cell holds, as JSON or as a Python literal; any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_json(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def is_written_in_python(value: Any) -> bool:
    """Whether a text is a list or an object as Python prints it, which JSON could not read."""
    if not isinstance(value, str) or value.strip()[:2] not in ("['", "{'", '["', '{"', "[{"):
        return False
    try:
        parse_json(value)
    except ValueError:
        return isinstance(parsed(value), list | dict)
    return False


def as_spoken(value: Any) -> Any:
    """A message of LangChain, `{"type": "human", "data": {"content": "…"}}` or the constructor of one, as a turn with a role; any other value
    unchanged."""
    if isinstance(value, dict) and value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        names = value.get("id")
        value = {"type": LANGCHAIN_CLASSES.get(str(names[-1:][0])) if isinstance(names, list) and names else None} | {
            key: part for key, part in value["kwargs"].items() if part or key == "content"
        }
    if not isinstance(value, dict) or value.get("type") not in LANGCHAIN or any(key in value for key in ROLE_KEYS):
        return value
    inner = value.get("data")
    rest = {**inner} if isinstance(inner, dict) else {key: part for key, part in value.items() if key != "data"}
    return {**rest, "role": rest.pop("type", value["type"])}


def turns_of_tree(nodes: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The turns of a conversation that is a tree of messages, as ChatGPT exports it: the newest branch. None for any other object."""
    if not nodes or not all(
        isinstance(node, dict) and "message" in node and "children" in node for node in nodes.values()
    ):
        return None
    node = next((node for node in nodes.values() if node.get("parent") not in nodes), None)
    turns: list[dict[str, Any]] = []
    seen = 0
    while isinstance(node, dict) and seen < len(nodes):
        seen += 1
        turn = _turn_of_node(node["message"])
        turns += [] if turn is None else [turn]
        node = nodes.get(node["children"][-1]) if node["children"] else None
    return turns


def _turn_of_node(message: Any) -> dict[str, Any] | None:
    """The turn in a message of an exported conversation; None for one that is empty, as hidden ones are."""
    author, content = (message.get("author"), message.get("content")) if isinstance(message, dict) else (None, None)
    if not isinstance(author, dict) or not isinstance(content, dict):
        return None
    parts = content.get("parts", content.get("text"))
    return {"role": author.get("role"), "content": parts} if parts not in (None, "", [], [""]) else None


def is_turn(value: Any) -> bool:
    """Whether this is one turn of a conversation."""
    value = as_spoken(value)
    return (
        isinstance(value, dict)
        and (any(key in value for key in ROLE_KEYS) or any(type(value.get(key)) is bool for key in SPEAKER_FLAGS))
        and (any(key in value for key in (*CONTENT_KEYS, *CALL_KEYS)) or content_key(value) is not None)
    )


def speaker_of(turn: dict[str, Any]) -> str:
    """The word with which a turn says who speaks, in lower case; empty if there is none."""
    return next((turn[key].strip().lower() for key in ROLE_KEYS if isinstance(turn.get(key), str)), "")


def content_key(turn: dict[str, Any]) -> str | None:
    """The key of a turn's content: one of the usual ones, or the only other text beside a known role; None if there is none, or it is null."""
    usual = next((key for key in CONTENT_KEYS if turn.get(key) is not None), None)
    if usual is not None or not turn.keys().isdisjoint(SPOKEN_KEYS):
        return usual
    if speaker_of(turn) not in ROLES:
        return None
    texts = [
        key for key, value in turn.items() if isinstance(value, str) and key not in TURN_KEYS and key not in NUMBERS
    ]
    return texts[0] if len(texts) == 1 else None


def exchange_keys(value: Any) -> tuple[str, str] | None:
    """The keys of a question and its answer, where an object holds one of each and no role."""
    if not isinstance(value, dict) or "role" in value or any(key in value for key in ROLE_KEYS):
        return None
    questions = [key for key in value if plain(str(key)) in QUESTION_KEYS and isinstance(value[key], str)]
    answers = [key for key in value if plain(str(key)) in ANSWER_KEYS and isinstance(value[key], str)]
    return (questions[0], answers[0]) if len(questions) == len(answers) == 1 else None


def is_call(value: Any) -> bool:
    """Whether this is a call of a tool, `{"name": …, "arguments": {…}}`, and nothing else."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return False
    return bool({"arguments", "parameters"} & set(value)) and set(value) <= {
        "name",
        "arguments",
        "parameters",
        "id",
        "type",
    }


def turns_inside(value: Any) -> tuple[Any, dict[str, Any]]:
    """The turns that an object wraps, and its other keys: under `messages`, as one `message`, as an answer of OpenAI's API, as a tree of messages, or
    as `turn_1`, `turn_2`, … Any other value unchanged."""
    if not isinstance(value, dict):
        return value, {}
    if isinstance(value.get("messages"), list):
        inner = value["messages"]
        if len(inner) == 1 and isinstance(inner[0], list):  # LangChain's runs have a list of conversations
            inner = inner[0]
        return inner, {key: part for key, part in value.items() if key != "messages"}
    if is_turn(value.get("message")) and not is_turn(value):
        return [value["message"]], {key: part for key, part in value.items() if key != "message"}
    choices = value.get("choices")
    if (
        isinstance(choices, list)
        and len(choices) == 1
        and isinstance(choices[0], dict)
        and is_turn(choices[0].get("message"))
    ):
        return [choices[0]["message"]], {key: part for key, part in value.items() if key != "choices"}
    of_tree = turns_of_tree(value)
    if of_tree is not None:
        return of_tree, {}
    numbers = [NUMBERED.fullmatch(plain(str(key))) for key in value]
    if numbers and all(numbers) and all(isinstance(part, dict) for part in value.values()):
        by_number = sorted(
            (int(number[1]), part) for number, part in zip(numbers, value.values(), strict=True) if number
        )
        return [part for _, part in by_number], {}
    return value, {}


def numbered_columns(row: dict[str, Any]) -> list[str]:
    """The columns of a row that hold one turn each, `message_1`, `message_2`, …, in the order of their numbers."""
    found = []
    for name, value in row.items():
        number = NUMBERED_COLUMN.fullmatch(plain(name)) if is_turn(value) else None
        if number:
            found.append((int(number[1]), name))
    return [name for _, name in sorted(found)]


def with_turns_together(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the turns of its numbered columns in one column `messages`."""
    names = numbered_columns(row)
    others = {name: value for name, value in row.items() if name not in names and not _is_empty_turn(name, value)}
    return others | {"messages": [row[name] for name in names]}


def _is_empty_turn(name: str, value: Any) -> bool:
    """Whether a cell is that of a turn that a shorter conversation doesn't have."""
    return value is None and NUMBERED_COLUMN.fullmatch(plain(name)) is not None


def texts_of_turns(value: Any) -> list[str]:
    """The texts of the turns in a cell, in their order."""
    inside, _ = turns_inside(parsed(value))
    turns = map(as_spoken, inside if isinstance(inside, list) else [inside])
    contents = [turn.get(content_key(turn) or "") for turn in turns if isinstance(turn, dict)]
    return [content.strip() for content in contents if isinstance(content, str) and content.strip()]


def awaits_answer(value: Any) -> bool:
    """Whether a conversation ends with a turn of the user, or with the result of a tool."""
    inside, _ = turns_inside(parsed(value))
    last = as_spoken(inside[-1] if isinstance(inside, list) and inside else inside)
    if not is_turn(last):
        return False
    flag = next((role for key, role in SPEAKER_FLAGS.items() if last.get(key) is True), "")
    return ROLES.get(speaker_of(last) or flag) in ("user", "tool")


def is_conversation(value: Any) -> bool:
    """Whether this is a list of turns or of exchanges, a single turn, or an object that wraps turns."""
    value, _ = turns_inside(value)
    if isinstance(value, list):
        return any(is_turn(turn) or exchange_keys(turn) is not None for turn in value)
    return is_turn(value)


def is_written_conversation(value: Any) -> bool:
    """Whether a text cell holds turns and nothing else: each has only keys of turns, and one of them a known role; an unknown one is named."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return False
    content = parsed(value)
    if isinstance(content, dict) and not is_turn(content):
        content = content.get("messages")
    turns = content if isinstance(content, list) else [content]
    return bool(turns) and all(_has_keys_of_turns(turn) for turn in turns) and any(map(_is_plain_turn, turns))


def is_plain_conversation(value: Any) -> bool:
    """Whether this is a list of turns with known roles and only keys of turns. A list of questions with answers is not: it may as well be a
    list of rows."""
    return isinstance(value, list) and bool(value) and all(is_turn(turn) and _is_plain_turn(turn) for turn in value)


def _has_keys_of_turns(turn: Any) -> bool:
    if not is_turn(turn):
        return exchange_keys(turn) is not None
    return set(as_spoken(turn)) <= TURN_KEYS


def _is_plain_turn(turn: Any) -> bool:
    if not is_turn(turn):
        return exchange_keys(turn) is not None
    turn = as_spoken(turn)
    role = next((turn[key] for key in ROLE_KEYS if key in turn), None)
    roles = role if isinstance(role, list) else [role]  # an object of columns
    return set(turn) <= TURN_KEYS and all(isinstance(role, str) and role.strip().lower() in ROLES for role in roles)


def is_too_deep(value: Any) -> bool:
    """Whether turns are in a list within a list, `[[{"role": …}]]`, instead of a list of turns."""
    value = parsed(value)
    inner = next((part for part in value if isinstance(part, list)), None) if isinstance(value, list) else None
    return inner is not None and (is_conversation(inner) or is_too_deep(inner))


def is_alternating(value: Any) -> bool:
    """Whether this is a list of texts, in which question and answer alternate."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(part, str) for part in value)
