"""`Example`: one row of any data set, converted to what a trainer reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Side = str | list[Message]


@dataclass(slots=True)
class Example:
    """One row. Which fields are filled follows from the data set's format.

    `row` counts from 1 in its own file; `line` is the line of a JSON Lines or text file. `trained_spans` are the parts of `text` that are trained
    on, as characters from and to; None for all of it. An instruction row (Alpaca) has both forms:
    `messages` for a chat template, `prompt` and `completion` for where there is none. A row that is tokens already has `input_ids` and no text;
    `loss_mask` is then None if all of them are trained on. `reasoning` comes before the last answer. A graded row has `scores`, in the order of the
    data set's labels, or the name of its class. `reference` is the answer in a row of which only the prompt is trained with: no model sees it, and
    evaluation compares with it.
    """

    file: str
    row: int
    line: int | None = None
    text: str | None = None
    trained_spans: list[tuple[int, int]] | None = None
    messages: list[Message] | None = None
    prompt: Side | None = None
    completion: Side | None = None
    chosen: Side | None = None
    rejected: Side | None = None
    label: bool | None = None
    scores: list[float] | None = None
    class_name: str | None = None
    tools: list[dict[str, Any]] | None = None
    input_ids: list[int] | None = None
    loss_mask: list[bool] | None = None
    reasoning: str | None = None
    reference: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    _key: bytes = field(default=b"", repr=False, compare=False)

    def content(self) -> tuple[Any, ...]:
        """Everything of this row that a model would see, as text or turns."""
        return (
            self.text,
            self.trained_spans,
            self.messages,
            self.prompt,
            self.completion,
            self.chosen,
            self.rejected,
            self.label,
            self.scores,
            self.class_name,
            self.tools,
            self.reasoning,
        )

    def key(self) -> bytes:
        """A digest that is equal for two rows exactly if a model would see the same."""
        if self._key:
            return self._key
        document = self._plainly() if self.input_ids is None else json.dumps([self.input_ids, self.loss_mask])
        if document is None:
            document = json.dumps(self.content(), ensure_ascii=True, sort_keys=True, default=str)
        self._key = hashlib.blake2b(document.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return self._key

    def _plainly(self) -> str | None:
        """The content as one text, with the lengths of its parts before it; None if there is more than texts and turns of a role and a text."""
        if self.tools is not None or self.reasoning is not None or self.trained_spans is not None:
            return None
        lengths: list[str] = []
        parts: list[str] = []
        for side in (self.text, self.messages, self.prompt, self.completion, self.chosen, self.rejected):
            if side is None:
                lengths.append("-")
            elif isinstance(side, str):
                lengths.append(str(len(side)))
                parts.append(side)
            else:
                lengths.append("[")
                for turn in side:
                    role, content = turn.get("role"), turn.get("content")
                    if len(turn) != 2 or not isinstance(role, str) or not isinstance(content, str):
                        return None
                    lengths += (str(len(role)), str(len(content)))
                    parts += (role, content)
                lengths.append("]")
        grade = self.label if self.scores is None and self.class_name is None else (self.scores, self.class_name)
        return f"{' '.join(lengths)} {grade}\n{''.join(parts)}"

    def strings(self) -> list[str]:
        """All texts of the row."""
        if self.messages is not None:
            sides: tuple[Side | None, ...] = (self.messages, self.chosen, self.rejected)
        else:
            sides = (self.text, self.prompt, self.completion, self.chosen, self.rejected)
        reasoning = [] if self.reasoning is None else [self.reasoning]
        return [text for side in sides if side is not None for text in texts_of(side)] + reasoning

    def answers(self) -> list[str]:
        """The texts of the row's answer; all its texts if no part of the row is an answer."""
        turns = [turn for turn in self.messages or () if turn.get("role") == "assistant"]
        sides: tuple[Side | None, ...] = (turns or None, self.completion, self.chosen)
        return [text for side in sides if side is not None for text in texts_of(side)] or self.strings()


def extra_columns(examples: Iterable[Example]) -> tuple[str, ...]:
    """Names of the columns that a trainer doesn't read, in the order in which they occur."""
    return tuple(dict.fromkeys(name for example in examples for name in example.extra))


def texts_of(side: Side) -> list[str]:
    """The text in a string or in the turns of a conversation."""
    if isinstance(side, str):
        return [side]
    return [message["content"] for message in side if isinstance(message.get("content"), str)]


def as_turns(side: Side, role: str) -> list[Message]:
    """Turns as they are; text as one turn of this role."""
    return [{"role": role, "content": side}] if isinstance(side, str) else side
