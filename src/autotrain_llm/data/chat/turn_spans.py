"""`TurnSpans`: locate the answer of a turn in a rendered conversation, from the trace of how the template wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from autotrain_llm.data.chat.template import (
    OPEN_TAG,
    ChatTemplate,
    ChatTemplateError,
    common_prefix,
    common_suffix,
    without_opening,
)
from autotrain_llm.data.chat.trace import CONTENT, THOUGHT, MessagePart, Trace
from autotrain_llm.data.example import Message
from autotrain_llm.data.turns import says_something

Span = tuple[int, int]


def is_answer(message: Message) -> bool:
    """Whether a turn is an answer that is trained on; `weight` 0 excludes it, as in the OpenAI format."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


class TurnSpans:
    """The answers of one conversation. `messages` have signs in their parts, `trace` is how the template writes them."""

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        tools: Any,
        trace: Trace,
        pieces: Sequence[MessagePart],
    ) -> None:
        self.template, self.messages, self.tools = template, messages, tools
        self.trace, self.text, self.pieces = trace, trace.text, pieces

    def of_turn(self, turn: int) -> list[Span] | str | None:
        """The spans of a turn's answer; or the reason why it can't be located; or None if the template writes nothing of the turn."""
        signs = self._signs_of(turn)
        stretches = self.trace.stretches(turn)
        if self.template.marks_generation:
            return self._generated(turn, signs, stretches)
        if not signs:
            return self._without_parts(turn, stretches)
        spans: list[Span] = []
        covered: set[int] = set()
        for run in self._runs(signs):
            fresh = [sign for sign in run if self.trace.signs[sign][1] not in covered]
            if not fresh:
                continue  # a name that the answer of a tool repeats
            span = self._of_run(turn, fresh, not spans)
            if isinstance(span, str):
                return span
            spans.append(span)
            covered |= {number for at, number in self.trace.signs if span[0] < at <= span[1]}
        return spans

    # -- where the parts of a turn are ----------------------------------------------------------------------------------

    def _signs_of(self, turn: int) -> list[int]:
        """The signs of a turn, as indexes: those that the template writes while it is at the turn, if any are."""
        signs = [index for index, (_, number) in enumerate(self.trace.signs) if self.pieces[number].turn == turn]
        stretches = self.trace.stretches(turn)
        inside = [
            index for index in signs if any(start <= self.trace.signs[index][0] <= end for start, end in stretches)
        ]
        return inside or signs

    def _runs(self, signs: list[int]) -> list[list[int]]:
        """The signs of a turn, divided where signs of other turns stand between them."""
        runs: list[list[int]] = []
        for index in signs:
            if runs and index == runs[-1][-1] + 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        return runs

    def _begin_of(self, index: int) -> int:
        """Where the piece of a first sign begins; spaces before it can be the template's."""
        at, number = self.trace.signs[index]
        head = self.pieces[number].head.lstrip()
        return at - len(common_suffix(self.text[max(at - len(head), 0) : at], head))

    def _end_of(self, index: int) -> int:
        """Where the piece of a last sign ends."""
        at, number = self.trace.signs[index]
        tail = self.pieces[number].tail
        return at + len(common_prefix(tail, self.text[at : at + len(tail)]))

    def _stretch_around(self, at: int, turn: int) -> Span | None:
        """The stretch that the template wrote at a turn, and that holds a place."""
        return next(((start, end) for start, end in self.trace.stretches(turn) if start <= at <= end), None)

    def _is_last(self, turn: int, end: int) -> bool:
        """Whether nothing of later turns is written after a place."""
        return not any(start >= end and owner != turn for start, _, owner in self.trace.owners) and not any(
            at >= end and self.pieces[number].turn != turn for at, number in self.trace.signs
        )

    # -- the answer -----------------------------------------------------------------------------------------------------

    def _of_run(self, turn: int, run: list[int], is_first: bool) -> Span | str:
        begin, last = self._begin_of(run[0]), self._end_of(run[-1])
        if is_first:
            start = self._start(turn, run[0], begin)
        else:
            at, number = self.trace.signs[run[0]]
            piece = self.pieces[number]
            whole = (piece.tags + piece.head).lstrip()
            start = at - len(whole) if self.text.endswith(whole, 0, at) else begin
            start = start if piece.kind in (CONTENT, THOUGHT) else None
        if start is None:
            return "where it begins depends on other turns"
        stretch = self._stretch_around(self.trace.signs[run[-1]][0], turn)
        follows = run[-1] + 1 < len(self.trace.signs) and self.trace.signs[run[-1] + 1][0]
        if stretch is not None and (follows is False or follows >= stretch[1]):
            return start, self._end(start, last, self._bound(turn, stretch[1]))
        end = self._end_by_rendering_less(turn, run, start)
        if end is None:
            return "where it ends depends on later turns"
        return start, end

    def _without_parts(self, turn: int, stretches: list[Span]) -> list[Span] | str | None:
        """The answer of a turn that has no parts in the text: the end of the turn, at most."""
        stretch = next(((start, end) for start, end in stretches if self.text[start:end].strip()), None)
        if stretch is None:
            return None if says_something(self.messages[turn]) else []
        begin, end = stretch
        start = self._start(turn, sum(at <= begin for at, _ in self.trace.signs), end)
        if start is None:
            return "where it begins depends on other turns"
        stop = self._end(start, start, self._bound(turn, end))
        return [(start, stop)] if self.text[start:stop].strip() else []

    def _generated(self, turn: int, signs: list[int], stretches: list[Span]) -> list[Span] | None:
        """What the template itself marks as generated at a turn."""
        spans = self.trace.generated
        turns = [number for number, message in enumerate(self.messages) if message["role"] == "assistant"]
        if len(spans) == len(turns):
            return [spans[turns.index(turn)]]
        places = [self.trace.signs[index][0] for index in signs]
        own = [
            (start, end)
            for start, end in spans
            if any(start <= at <= end for at in places) or any(a <= start and end <= b for a, b in stretches)
        ]
        return own or None

    def _start(self, turn: int, index: int, limit: int) -> int | None:
        """The position where the model takes over: after the common prefix of the text and of a prompt that ends before this turn; None if
        it can't be located. `index` is the first sign of the turn, `limit` the position where its first part begins."""
        before = [(at, number) for at, number in self.trace.signs[:index] if self.pieces[number].turn != turn]
        anchor, piece = before[-1] if before else (0, None)
        begins = [start for start, _ in self.trace.stretches(turn) if start <= limit]
        begin = max(begins, default=0)
        prompt_end = self._written_after(piece, self.messages[:turn], add_generation_prompt=True)
        if prompt_end is None:
            opening = self.template.generation_prompt
            at = self.text.rfind(opening, max(begin, anchor), limit) if opening else -1
            return at + len(opening) if at >= 0 else begin if begins and begin >= anchor else None
        common = common_prefix(prompt_end, self.text[anchor:limit])
        if common != prompt_end:  # the text goes on in another way than the prompt
            alone = self._written_after(piece, self.messages[:turn]) or prompt_end
            opening = prompt_end[len(alone) :] if prompt_end.startswith(alone) else ""
            at = self.text.rfind(opening, anchor, limit) if opening else -1
            if at >= 0:
                return at + len(opening)
            common = without_opening(common)
        return max(anchor + len(common), begin)

    def _written_after(
        self, piece: int | None, messages: Sequence[Message], add_generation_prompt: bool = False
    ) -> str | None:
        """What the template writes after the last sign of some turns, if that belongs to this piece."""
        trace = self._traced(messages, add_generation_prompt)
        if trace is None:
            return None
        at, last = trace.signs[-1] if trace.signs else (0, None)
        return trace.text[at:] if last == piece else None

    def _end(self, start: int, after: int, bound: int) -> int:
        """Where an answer ends: after the token that ends the turn, not after the newline that only separates turns.

        `after` is where its last part ends, `bound` how far it reaches at most.
        """
        template, text = self.template, self.text
        stop = template.end_of_turn
        for ending in (stop, stop.strip()) if stop else ():
            at = text.rfind(ending, after, bound)
            if at >= 0:
                return at + len(ending)
        if ends := [token.end() for token in template.control_tokens.finditer(text, after, bound)]:
            return ends[-1]
        if not stop and template.turn_suffix and text.endswith(template.turn_suffix, start, bound):
            return bound - len(template.turn_suffix)
        end = start + len(text[start:bound].rstrip())
        behind = len(text[end:]) - len(text[end:].lstrip()) + end
        if stop and text.startswith(stop.strip(), behind):  # written at the next turn, or after all of them
            return behind + len(stop.strip())
        return end

    def _bound(self, turn: int, end: int) -> int:
        """How far the last stretch of a turn can reach: to the end of the text, if only tokens follow."""
        rest = self.text[end:]
        if (
            rest.strip() == (self.template.end_of_turn or "").strip()
            or not self.template.control_tokens.sub("", rest).strip()
        ):
            return len(self.text) if self._is_last(turn, end) else end
        return end

    def _end_by_rendering_less(self, turn: int, run: list[int], start: int) -> int | None:
        """Where an answer ends that the template follows with text of other turns: before what changes when these are not there."""
        tools_behind = sum(1 for _ in takewhile(lambda message: message["role"] == "tool", self.messages[turn + 1 :]))
        fewer = [self.messages[: turn + 1]]
        if tools_behind and turn + 1 + tools_behind < len(self.messages):
            fewer.append([*self.messages[: turn + 1], *self.messages[turn + 1 + tools_behind :]])
        needed = {self.trace.signs[index] for index in run}
        first_sign = self.trace.signs[run[0]]
        for messages in fewer:
            other = self._traced(messages)
            same = [at for at, number in other.signs if number == first_sign[1]] if other is not None else []
            if other is None or not same or same[0] < first_sign[0] - start:
                continue
            begin = same[0] - (first_sign[0] - start)
            common = common_prefix(self.text[start:], other.text[begin:])
            if begin + len(common) < len(other.text):
                common = OPEN_TAG.sub("", common)
            end = start + len(common)
            inside = {number for at, number in self.trace.signs if start < at <= end}
            if {number for _, number in needed} <= inside:
                after = max(self._end_of(index) for index in run if self.trace.signs[index][0] < end)
                return self._end(start, min(after, end), end)
        return None

    def _traced(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> Trace | None:
        try:
            return self.template.trace(messages, self.tools, add_generation_prompt)
        except ChatTemplateError:
            return None
