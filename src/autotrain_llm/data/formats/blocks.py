"""Blocks in the content of a turn, as the APIs of different vendors write them: calls of tools, their results, and thoughts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autotrain_llm.data.wording import plain

CALL, RESULT, THOUGHT = "call", "result", "thought"
# The kind of a block by its `type` (Anthropic, OpenAI, the AI SDK), or by the only key of an object around it (Gemini, Bedrock), without
# case and underscores.
KINDS = {
    "tooluse": CALL, "toolcall": CALL, "functioncall": CALL,
    "toolresult": RESULT, "functionresponse": RESULT, "functioncalloutput": RESULT,
    "thinking": THOUGHT, "reasoning": THOUGHT, "reasoningcontent": THOUGHT, "reasoningtext": THOUGHT,
}  # fmt: skip
IDS = ("id", "callid", "tooluseid", "toolcallid")
NAMES = ("name", "toolname")
ARGUMENTS = ("input", "args", "arguments", "parameters")
RESULTS = ("content", "result", "response", "output")
THOUGHTS = ("thinking", "text", "reasoning")


@dataclass(slots=True)
class Block:
    """A block that is no plain text. `content` is a call's arguments, a tool's result or the text of a thought; `rest` was not read."""

    kind: str
    content: Any
    name: str | None
    id: str | None
    rest: dict[str, Any]


def read_block(part: Any) -> Block | None:
    """A call, a result or a thought; None for any other part of a content, such as text or an image."""
    if not isinstance(part, dict):
        return None
    kind = KINDS.get(_bare(part.get("type")))
    rest = {key: value for key, value in part.items() if key != "type"}
    if kind is None and part.get("thought") is True and isinstance(part.get("text"), str):  # Gemini
        return Block(THOUGHT, part["text"], None, None, {})
    if len(rest) == 1:
        key, inner = next(iter(rest.items()))
        of_key = KINDS.get(_bare(key))
        if of_key is not None and isinstance(inner, dict):
            return read_block({"type": key, **inner}) if "type" not in inner else read_block(inner)
    if kind is None:
        return None
    keys = {CALL: ARGUMENTS, RESULT: RESULTS, THOUGHT: THOUGHTS}[kind]
    if kind == THOUGHT:
        content = _take(rest, keys)
        rest.pop("signature", None)
        return Block(kind, content, None, None, rest) if isinstance(content, str) else None
    block_id, name = _take(rest, IDS), _take(rest, NAMES)
    if kind == CALL and name is None:
        return None
    return Block(kind, _take(rest, keys), name, block_id, rest)


def _take(rest: dict[str, Any], names: Iterable[str]) -> Any:
    """The value under the first of these names, taken out; None without one."""
    by_name = {_bare(key): key for key in rest}
    key = next((by_name[name] for name in names if name in by_name), None)
    return rest.pop(key) if key is not None else None


def _bare(name: Any) -> str:
    """A name without case, underscores and dashes: `toolUse` and `tool_use` are the same."""
    return plain(name).replace("_", "") if isinstance(name, str) else ""
