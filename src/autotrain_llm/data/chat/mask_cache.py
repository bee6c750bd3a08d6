"""The positions of the answers in conversations with the same roles: found once, with placeholders as contents, then applied to each text.

A template that writes the same text around the contents of two conversations with the same roles puts their answers in the same places.
This is checked for each text, character by character, with contents as they are or trimmed; if it fails, the conversation is rendered turn
by turn (`assistant_masks.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotrain_llm.data.example import Message

Span = tuple[int, int]
# Of a conversation's roles, and the turn that answers are looked for from: the text and the answers of a conversation.
Slowly = Callable[[list[Message], int], tuple[str, list[Span]] | None]
CONTENT = "Wq5k{}kq5W"
CONTENTS = re.compile(r"Wq5k(\d+)kq5W")
# Templates look for reasoning in the content, and move or remove it.
THOUGHTS = "think>"
MOST_SKELETONS = 512


@dataclass(slots=True)
class TemplateSkeleton:
    """The text around each content, and for each answer its turn and how far it reaches before and after that turn's content."""

    around: list[str]
    answers: list[tuple[int, int, int]]

    def answers_in(self, contents: Sequence[str], text: str) -> list[Span] | None:
        """The spans of the answers; None if the text is not exactly these contents with the skeleton's text around them."""
        parts = [self.around[0]]
        for content, behind in zip(contents, self.around[1:], strict=True):
            parts += (content, behind)
        if "".join(parts) != text:
            return None
        ends = [len(parts[0])]
        for part in parts[1:]:
            ends.append(ends[-1] + len(part))
        return [(ends[2 * turn] - before, ends[2 * turn + 1] + behind) for turn, before, behind in self.answers]


class TemplateSkeletons:
    """The skeletons of one template, by the roles of a conversation."""

    def __init__(self, source: str) -> None:
        self._looks_for_thoughts = THOUGHTS in source
        self._known: dict[tuple[int, tuple[str, ...], tuple[bool, ...]], TemplateSkeleton | None] = {}

    def answers(self, messages: Sequence[Message], first: int, text: str, slowly: Slowly) -> list[Span] | None:
        """The spans of the answers from turn `first` on in the text of a conversation; None if the skeleton doesn't fit it."""
        contents = _contents(messages)
        if contents is None or (self._looks_for_thoughts and any(THOUGHTS in content for content in contents)):
            return None
        key = (first, tuple(message["role"] for message in messages), tuple(map(bool, contents)))
        if key not in self._known:
            if len(self._known) >= MOST_SKELETONS:
                return None
            self._known[key] = _skeleton(key[1], key[2], first, slowly)
        skeleton = self._known[key]
        if skeleton is None:
            return None
        texts = [content for content in contents if content]
        spans = skeleton.answers_in(texts, text)
        if spans is None and any(content[0].isspace() or content[-1].isspace() for content in texts):
            spans = skeleton.answers_in([content.strip() for content in texts], text)  # many templates trim
        return spans


def _contents(messages: Sequence[Message]) -> list[str] | None:
    """The contents of the turns, where each is a role and a text, no content is only spaces and no answer is empty; else None."""
    contents = []
    for message in messages:
        content = message.get("content")
        if len(message) != 2 or not isinstance(content, str) or (content and content.isspace()):
            return None
        if not content and message["role"] == "assistant":
            return None
        contents.append(content)
    return contents


def _skeleton(
    roles: tuple[str, ...], has_text: tuple[bool, ...], first: int, slowly: Slowly
) -> TemplateSkeleton | None:
    """The skeleton of conversations with these roles; `has_text` says which turns have content.

    None if the template writes contents in another order, twice or not at all.
    """
    turns = [
        (role, CONTENT.format(turn) if says else "")
        for turn, (role, says) in enumerate(zip(roles, has_text, strict=True))
    ]
    marks = [mark for _, mark in turns if mark]
    rendered = slowly([{"role": role, "content": mark} for role, mark in turns], first)
    if rendered is None:
        return None
    text, spans = rendered
    places = [match.span() for match in CONTENTS.finditer(text)]
    if [text[start:end] for start, end in places] != marks:
        return None
    answers = []
    for start, end in spans:
        inside = [turn for turn, place in enumerate(places) if start <= place[0] and place[1] <= end]
        if len(inside) != 1:
            return None
        answers.append((inside[0], places[inside[0]][0] - start, end - places[inside[0]][1]))
    return TemplateSkeleton(re.split(CONTENT.format(r"\d+"), text), answers)
