"""`Trace`: the text of a conversation together with the origin of its characters.

Two kinds of signs, invisible marker characters, are rendered with the text and then removed. Signs inside the parts of messages (contents,
reasoning, names and arguments of calls) show where each part was written; signs that the template itself writes show which turn its loop
over the messages had reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotrain_llm.data.example import Message
from autotrain_llm.data.turns import THOUGHT_KEYS

Span = tuple[int, int]
# Private-use characters of the last plane, which no text has: they survive trimming, changes of case and JSON.
GENERATED = ("\U00100001", "\U00100002")
DEPTH, TURN, PIECE, LAST = 0x100100, 0x101000, 0x103000, 0x10FFFD
SIGN = re.compile("[\U00100001-\U0010fffd]")
ESCAPED = re.compile(r"\\u(db[c-f][0-9a-f])\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
# Templates look for tags in contents, so no sign stands inside one, and what stands between two of them is a part of its own.
TAG = re.compile(r"</?[^<>\s]{1,40}>|\[/?[A-Z_]{2,30}\]")
LAST_LETTER, LAST_CHARACTER = re.compile(r".*\w", re.DOTALL), re.compile(r".*\S", re.DOTALL)
CONTENT, THOUGHT, NAME, ARGUMENT = "content", "thought", "name", "argument"


@dataclass(frozen=True, slots=True)
class MessagePart:
    """A piece of text of one message, without tags. `head` and `tail` are its text before the first and after the last sign, `tags` the tags before
    it."""

    turn: int
    kind: str
    text: str
    head: str
    tail: str
    tags: str = ""


@dataclass
class Trace:
    """A rendered text whose signs were removed. `signs` are positions in the text, each with the index of its piece; `owners` are the
    stretches that the template wrote while its loop was at a turn; `generated` are those inside `{% generation %}`."""

    text: str
    signs: list[tuple[int, int]] = field(default_factory=list)
    owners: list[tuple[int, int, int]] = field(default_factory=list)
    generated: list[Span] = field(default_factory=list)

    def stretches(self, turn: int) -> list[Span]:
        """The stretches that the template wrote at a turn."""
        return [(start, end) for start, end, owner in self.owners if owner == turn]


# -- signs in messages -----------------------------------------------------------------------------------------------------


def with_signs(
    messages: Sequence[Message], without: frozenset[int] = frozenset()
) -> tuple[list[Message], list[MessagePart]]:
    """Put two signs into each piece of the messages, except the pieces with the indices `without`. Returns the messages and all pieces."""
    pieces: list[MessagePart] = []

    def signed(text: str, turn: int, kind: str) -> str:
        out: list[str] = []
        known = len(pieces)
        at, tags = 0, ""
        for start, end in (*(tag.span() for tag in TAG.finditer(text)), (len(text), len(text))):
            count = len(pieces)
            out += (_signed(text[at:start], turn, kind, pieces, without, tags), text[start:end])
            tags = (tags + text[at:start] if len(pieces) == count else "") + text[start:end]
            at = end
        return "".join(out) if len(pieces) > known else _signed(text, turn, kind, pieces, without)

    return [_with_signs(message, turn, signed) for turn, message in enumerate(messages)], pieces


def _with_signs(message: Message, turn: int, signed: Callable[[str, int, str], str]) -> Message:
    changed = dict(message)
    for key in THOUGHT_KEYS:
        if isinstance(message.get(key), str):
            changed[key] = signed(message[key], turn, THOUGHT)
    if isinstance(message.get("content"), str):
        changed["content"] = signed(message["content"], turn, CONTENT)
    if isinstance(message.get("tool_calls"), list):
        changed["tool_calls"] = [_call_with_signs(call, turn, signed) for call in message["tool_calls"]]
    return changed


def _call_with_signs(call: Any, turn: int, signed: Callable[[str, int, str], str]) -> Any:
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _call_with_signs(call["function"], turn, signed)}

    def inside(value: Any) -> Any:
        if isinstance(value, str):
            return signed(value, turn, ARGUMENT)
        if isinstance(value, list):
            return [inside(one) for one in value]
        if isinstance(value, dict):
            return {inside(key): inside(one) for key, one in value.items()}
        return value

    changed = dict(call)
    if isinstance(call.get("name"), str):
        changed["name"] = signed(call["name"], turn, NAME)
    if "arguments" in call:
        changed["arguments"] = inside(call["arguments"])
    return changed


def _signed(text: str, turn: int, kind: str, pieces: list[MessagePart], without: frozenset[int], tags: str = "") -> str:
    """A piece with a sign after its first letter and one before its last; text that is only spaces is no piece."""
    first = re.search(r"\w", text) or re.search(r"\S", text)
    if first is None or PIECE + len(pieces) > LAST:
        return text
    last = (LAST_LETTER.match(text) or LAST_CHARACTER.match(text) or first).end()
    begin, end = first.end(), max(last - 1, first.end())
    number = len(pieces)
    pieces.append(MessagePart(turn, kind, text, text[:begin], text[end:], tags))
    if number in without:
        return text
    sign = chr(PIECE + number)
    return f"{text[:begin]}{sign}{text[begin:end]}{sign}{text[end:]}"


# -- signs that a template writes ------------------------------------------------------------------------------------------


def sign_of_turns(messages: Sequence[Message]) -> Callable[[Any, int], str]:
    """The function that a loop calls first for each of its values: its result is a sign with the index of the value among these messages,
    and the depth of the loop."""
    turns = {id(message): turn for turn, message in enumerate(messages)}

    def sign(value: Any, depth: int) -> str:
        turn = turns.get(id(value))
        return "" if turn is None else f"{chr(DEPTH + depth)}{chr(TURN + 1 + turn)}"

    return sign


def end_of_loop(depth: int) -> str:
    """The sign that ends a loop."""
    return f"{chr(DEPTH + depth)}{chr(TURN)}"


def read(raw: str) -> Trace:
    """Parse a rendered text with signs into a trace."""
    if "\\ud" in raw:
        raw = ESCAPED.sub(_unescaped, raw)
    trace = Trace("")
    parts: list[str] = []
    loops: dict[int, int] = {}
    at = start = depth = generation = 0
    for begin, end, code in _stretches(raw):
        if end > begin:
            parts.append(raw[begin:end])
            if loops:
                _own(trace.owners, at, at + end - begin, loops[max(loops)])
            at += end - begin
        if code >= PIECE:
            trace.signs.append((at, code - PIECE))
        elif code >= TURN:
            loops = {outer: turn for outer, turn in loops.items() if outer < depth}
            if code > TURN:
                loops[depth] = code - TURN - 1
        elif code >= DEPTH:
            depth = code - DEPTH
        elif code == ord(GENERATED[0]):
            start, generation = (at, 1) if not generation else (start, generation + 1)
        elif code == ord(GENERATED[1]):
            generation -= 1
            if not generation and at > start:
                trace.generated.append((start, at))
    trace.text = "".join(parts)
    return trace


def _stretches(raw: str) -> Iterator[tuple[int, int, int]]:
    """Each stretch of text with the sign behind it; 0 at the end."""
    at = 0
    for sign in SIGN.finditer(raw):
        yield at, sign.start(), ord(sign[0])
        at = sign.end()
    yield at, len(raw), 0


def _own(owners: list[tuple[int, int, int]], start: int, end: int, turn: int) -> None:
    if owners and owners[-1][1:] == (start, turn):
        owners[-1] = (owners[-1][0], end, turn)
    else:
        owners.append((start, end, turn))


def _unescaped(pair: re.Match[str]) -> str:
    return (int(pair[1], 16).to_bytes(2, "big") + int(pair[2], 16).to_bytes(2, "big")).decode("utf-16-be")
