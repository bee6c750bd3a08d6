"""Find the characters of a rendered conversation that are answers, from what the template writes for each turn; the template needs no `{%
generation %}` tags.

Most conversations are rendered only once: `mask_cache.py` has the positions of the answers for conversations with the same roles. For the
others, `trace.py` records where each part of each turn was written. An answer begins at the end of the generation prompt, where the model
takes over, and ends after the token that ends its turn. `turn_spans.py` finds these spans; this module checks that they hold the whole
answer and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.chat.trace import CONTENT, NAME, THOUGHT, MessagePart, Trace, with_signs
from autotrain_llm.data.chat.turn_spans import Span, TurnSpans, is_answer
from autotrain_llm.data.example import Message

MOST_RENDERINGS = 100


@dataclass
class Rendered:
    """A conversation as text, and the spans of the answers in it. `lost` are turns of which the template writes nothing; `unclear` is the
    first turn whose answer can't be located, with the reason; `left_out` are the parts of answers that are not in the text. `whole` is
    True if the text was checked to hold the content of every turn, and the turns have nothing but content."""

    text: str
    spans: list[Span]
    lost: list[int]
    unclear: tuple[int, str] | None = None
    left_out: list[MessagePart] = field(default_factory=list, compare=False)
    whole: bool = field(default=False, compare=False)


def render_with_answers(
    template: ChatTemplate, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None, first: int = 0
) -> Rendered:
    """Render a conversation and find its answers, from turn `first` on. Raises ChatTemplateError if the template refuses it."""
    text = template.render(messages, tools)
    skeleton_spans = None if tools else template.skeletons.answers(messages, first, text, partial(_of_marks, template))
    if skeleton_spans is not None and not _ends_in_nothing_but_space(template, text, skeleton_spans):
        return Rendered(text, skeleton_spans, [], whole=True)
    return _traced(template, messages, tools, first, text)


def _ends_in_nothing_but_space(template: ChatTemplate, text: str, spans: list[Span]) -> bool:
    """Whether an answer ends in spaces that can't be told from its content, as the template writes nothing after an answer."""
    return not template.turn_suffix and any(text[end - 1].isspace() for _, end in spans)


def _of_marks(template: ChatTemplate, messages: list[Message], first: int) -> tuple[str, list[Span]] | None:
    """The text and the answers of a conversation of placeholders; None if they can't all be found."""
    try:
        rendered = _traced(template, messages, None, first, template.render(messages))
    except ChatTemplateError:
        return None
    answers = sum(is_answer(message) for message in messages[first:])
    return None if len(rendered.spans) != answers else (rendered.text, rendered.spans)


def _traced(
    template: ChatTemplate, messages: Sequence[Message], tools: list[dict[str, Any]] | None, first: int, text: str
) -> Rendered:
    """The answers of a conversation, by where the template writes their parts."""
    answers = [turn for turn, message in enumerate(messages) if turn >= first and is_answer(message)]
    signed, pieces = with_signs(messages)
    trace = _unchanged(template, signed, tools, text)
    without: frozenset[int] = frozenset()
    if trace is None:
        without = _changing(template, messages, tools, text)
        signed, pieces = with_signs(messages, without)
        trace = _unchanged(template, signed, tools, text)
    if trace is None:
        return Rendered(text, [], [], (answers[0], "what the template writes changes each time") if answers else None)
    finder = TurnSpans(template, signed, tools, trace, pieces)
    spans: dict[int, list[Span]] = {}
    lost: list[int] = []
    for turn in answers:
        found = finder.of_turn(turn)
        if isinstance(found, str):
            return Rendered(text, [], [], (turn, found))
        if found is None:
            lost.append(turn)
        else:
            spans[turn] = found
    unclear = _fault(template, trace, pieces, without, spans)
    if unclear is not None:
        return Rendered(text, [], [], unclear)
    written = {piece for _, piece in trace.signs}
    left_out = [
        piece
        for number, piece in enumerate(pieces)
        if piece.turn in answers and number not in written and number not in without
    ]
    return Rendered(text, [span for turn in answers for span in spans.get(turn, ())], lost, left_out=left_out)


def _unchanged(template: ChatTemplate, messages: Sequence[Message], tools: Any, text: str) -> Trace | None:
    """The trace of messages with signs; None if the signs change what the template writes."""
    try:
        trace = template.trace(messages, tools)
    except ChatTemplateError:
        return None
    return trace if trace.text == text else None


def _changing(template: ChatTemplate, messages: Sequence[Message], tools: Any, text: str) -> frozenset[int]:
    """The pieces in which signs change what the template writes, as where it looks for a word: found by halves, as long as that takes few renderings."""
    every = range(len(with_signs(messages)[1]))
    renderings = 0

    def changing(numbers: Sequence[int]) -> list[int]:
        nonlocal renderings
        renderings += 1
        if renderings > MOST_RENDERINGS:
            return list(numbers)
        signed, _ = with_signs(messages, frozenset(every) - frozenset(numbers))
        if not numbers or _unchanged(template, signed, tools, text) is not None:
            return []
        half = len(numbers) // 2
        return [*changing(numbers[:half]), *changing(numbers[half:])] if half else list(numbers)

    return frozenset(changing(every))


def _fault(
    template: ChatTemplate,
    trace: Trace,
    pieces: Sequence[MessagePart],
    without: frozenset[int],
    spans: dict[int, list[Span]],
) -> tuple[int, str] | None:
    """The first turn whose spans miss part of what the template writes for it, or hold text of another turn, with the reason. It reads only
    the signs and does not depend on how the spans were found."""
    places: dict[int, list[int]] = {}
    for at, number in trace.signs:
        places.setdefault(number, []).append(at)
    stop = (template.end_of_turn or "").strip()
    for turn, own in spans.items():
        for number, piece in enumerate(pieces):
            inside = [at for at in places.get(number, ()) if any(start < at <= end for start, end in own)]
            if piece.turn != turn:
                if inside:
                    return turn, f"it would hold text of turn {piece.turn + 1}"
            elif number in without:
                if not _is_written(piece, trace.text, own) and _is_written(piece, trace.text, trace.stretches(turn)):
                    return turn, f"part of it lies elsewhere: {_words(piece)}"
            elif number in places and (len(inside) < 2 or _is_repeated(piece, places[number], inside, trace)):
                return turn, f"part of it lies elsewhere: {_words(piece)}"
        own_places = [at for number, piece in enumerate(pieces) if piece.turn == turn for at in places.get(number, ())]
        for start, end, owner in trace.owners:
            if owner != turn and any(
                trace.text[max(start, a) : min(end, b)].strip() not in ("", stop)
                and not any(start <= at <= end for at in own_places)
                for a, b in own
            ):
                return turn, f"it would hold what the template writes for turn {owner + 1}"
        end = own[-1][1] if own else len(trace.text)
        ends = template.marks_generation or trace.text.endswith(stop, 0, end)
        if not ends and trace.text[end:].lstrip().startswith(stop):
            return turn, f"its end {stop} lies elsewhere"
    return None


def _is_repeated(piece: MessagePart, places: list[int], inside: list[int], trace: Trace) -> bool:
    """Whether a piece is written again, neither in the answer nor for another turn; the name of a call may be."""
    others = [(start, end) for start, end, owner in trace.owners if owner != piece.turn]
    outside = [at for at in places if at not in inside]
    return piece.kind != NAME and not all(any(start <= at <= end for start, end in others) for at in outside)


def _is_written(piece: MessagePart, text: str, spans: list[Span]) -> bool:
    words = piece.text.strip()
    return any(way in text[start:end] for start, end in spans for way in (words, json.dumps(words)[1:-1]))


def _words(piece: MessagePart) -> str:
    what = {CONTENT: "", THOUGHT: "its reasoning "}.get(piece.kind, "its call ")
    return f"{what}{piece.text.strip()[:60]!r}"
