"""Which characters of a rendered conversation are answers: found by rendering it turn by turn, without help from the template.

Most conversations need not be rendered more than once: `skeletons.py` knows where the answers of those with the same roles lie.
An answer goes from the end of the generation prompt, where the model takes over, through the token that ends its turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Message

Span = tuple[int, int]
THOUGHT = re.compile(r"(<think>\s*).*?(\s*</think>\s*)", re.DOTALL)
OPENING = re.compile(r"<think>\s*\Z")
MARK = "Xq7z{}zq7X"
MARKS = re.compile(r"Xq7z\d+zq7X")


@dataclass
class Rendered:
    """A conversation as text, the answers in it, and the turns whose answers could not be found.

    `whole` says that the text was checked to hold the content of each turn, and that the turns hold nothing else.
    """

    text: str
    spans: list[Span]
    lost: list[int]
    whole: bool = field(default=False, compare=False)


def render_with_answers(
    template: ChatTemplate, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None, first: int = 0
) -> Rendered:
    """Render a conversation and find its answers, from turn `first` on. Raises TemplateFault where the template refuses it."""
    answers = [at for at, message in enumerate(messages) if at >= first and is_answer(message)]
    if template.marks_generation:
        text, spans = template.render_marked(messages, tools)
        turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        if len(spans) == len(turns):
            return Rendered(text, [span for at, span in zip(turns, spans, strict=True) if at in answers], [])
    text = template.render(messages, tools)
    skeleton_spans = None if tools else template.skeletons.answers(messages, first, text, partial(_of_marks, template))
    if skeleton_spans is not None and not _ends_in_nothing_but_space(template, text, skeleton_spans):
        return Rendered(text, skeleton_spans, [], whole=True)
    return _turn_by_turn(template, messages, tools, answers, text)


def _ends_in_nothing_but_space(template: ChatTemplate, text: str, spans: list[Span]) -> bool:
    """Whether an answer ends in spaces that can't be told from its content, as the template writes nothing after an answer."""
    return not template.turn_suffix and any(text[end - 1].isspace() for _, end in spans)


def _of_marks(template: ChatTemplate, messages: list[Message], first: int) -> tuple[str, list[Span]] | None:
    """The text and the answers of a conversation of placeholders; None where they can't all be found."""
    try:
        text = template.render(messages)
    except ChatTemplateError:
        return None
    answers = [at for at, message in enumerate(messages) if at >= first and is_answer(message)]
    rendered = _turn_by_turn(template, messages, None, answers, text)
    return None if rendered.lost or len(rendered.spans) != len(answers) else (text, rendered.spans)


def _turn_by_turn(
    template: ChatTemplate, messages: Sequence[Message], tools: Any, answers: list[int], text: str
) -> Rendered:
    """The answers of a conversation, each found by rendering what comes before it and what it ends."""
    spans: list[Span] = []
    lost: list[int] = []
    by_marks: dict[int, Span] | None = None
    for at in answers:
        span = _by_prefix(template, messages, tools, at, text)
        if span is None:
            by_marks = _by_marks(template, messages, tools, text) if by_marks is None else by_marks
            span = by_marks.get(at)
        if span is None:
            lost.append(at)
        elif span[1] > span[0]:
            spans.append(span)
    return Rendered(text, spans, lost)


def is_answer(message: Message) -> bool:
    """Whether a turn is trained on; `weight` 0 excludes one, as in the OpenAI format."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


def _by_prefix(template: ChatTemplate, messages: Sequence[Message], tools: Any, at: int, text: str) -> Span | None:
    """The answer at a turn, where rendering fewer turns gives a beginning of the whole text."""
    try:
        before = template.render(messages[:at], tools, add_generation_prompt=True)
        through = text if at == len(messages) - 1 else template.render(messages[: at + 1], tools)
    except ChatTemplateError:
        return None
    if not text.startswith(before) or not text.startswith(through) or len(through) < len(before):
        return None
    return len(before), _end(template, text, len(before), len(through))


def _end(template: ChatTemplate, text: str, start: int, end: int) -> int:
    """Where an answer ends: after the token that ends the turn, not after the newline that only separates turns."""
    stop = template.end_of_turn
    if stop:
        for ending in (stop, stop.strip()):
            at = text.rfind(ending, start, end)
            if at >= 0:
                return at + len(ending)
    if not stop and template.turn_suffix and text.endswith(template.turn_suffix, start, end):
        return end - len(template.turn_suffix)
    return start + len(text[start:end].rstrip())


def _by_marks(template: ChatTemplate, messages: Sequence[Message], tools: Any, text: str) -> dict[int, Span]:
    """The answers of a conversation whose rendering changes with what follows, as where earlier thoughts are taken out.

    The conversation is rendered once more with a mark for each answer; the text between the marks is searched for in the original text.
    """
    marked = [_marked(message, at) if is_answer(message) else message for at, message in enumerate(messages)]
    try:
        rendered = template.render(marked, tools)
    except ChatTemplateError:
        return {}
    pieces = MARKS.split(rendered)
    marks = [int(mark[4:-4]) for mark in MARKS.findall(rendered)]
    if not text.startswith(pieces[0]) or not text.endswith(pieces[-1]):
        return {}
    spans: dict[int, Span] = {}
    position = len(pieces[0])
    for number, mark in enumerate(marks):
        last = number == len(marks) - 1
        next_at = len(text) - len(pieces[-1]) if last else text.find(pieces[number + 1], position)
        if next_at < position:
            return {}
        turn = mark // 2
        start = spans[turn][0] if turn in spans else position
        spans[turn] = (start, next_at)
        position = next_at + len(pieces[number + 1])
    return {
        turn: (_from_thought(template, text, start), _through_end(template, text, end))
        for turn, (start, end) in spans.items()
    }


def _marked(message: Message, at: int) -> Message:
    """A message whose content, and whose thought where it has one, is replaced by a mark; tool calls stay."""
    content = message.get("content")
    changed = dict(message)
    if isinstance(content, str) and content:
        thought, answer = THOUGHT.search(content), MARK.format(2 * at + 1)
        changed["content"] = answer if thought is None else f"{thought[1]}{MARK.format(2 * at)}{thought[2]}{answer}"
    for key in ("reasoning_content", "thinking", "reasoning"):
        if isinstance(changed.get(key), str):
            changed[key] = MARK.format(2 * at)
    return changed


def _from_thought(template: ChatTemplate, text: str, start: int) -> int:
    """The start of an answer: the tag that opens its thought belongs to it, unless the generation prompt gives it."""
    opening = OPENING.search(text[max(start - 20, 0) : start])
    if opening is None or OPENING.search(template.generation_prompt):
        return start
    return start - len(opening[0])


def _through_end(template: ChatTemplate, text: str, end: int) -> int:
    """The end of an answer whose content ends at `end`: with the token that ends the turn, if that follows."""
    stop = template.end_of_turn
    return end + len(stop) if stop and text.startswith(stop, end) else end
