"""`RowRenderer`: each row as the text that will be tokenised, with the spans that are trained on and the special tokens around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

from autotrain_llm.data.chat.assistant_masks import Rendered, render_with_answers
from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError, fitting_template
from autotrain_llm.data.chat.trace import ARGUMENT, NAME
from autotrain_llm.data.chat.turn_spans import is_answer
from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.formats.detect import GRADED
from autotrain_llm.data.formats.token_rows import TOKENS
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.columns import a_key_is_not_used
from autotrain_llm.data.rules.conversations import (
    a_chat_template_is_not_applied_to_plain_text,
    an_answer_can_not_be_located,
    no_template_is_allowed_for_conversations,
    plain_text_has_no_responses,
    the_generation_prompt_is_not_trained_on,
    the_template_leaves_out_a_turn,
    the_template_leaves_out_an_answer,
    the_template_leaves_out_part_of_an_answer,
    the_template_leaves_out_tools,
    the_template_refuses_a_conversation,
    the_template_writes_no_generation_prompt,
    there_is_no_chat_template,
    tools_are_written_twice,
)
from autotrain_llm.data.rules.token_rows import (
    an_id_is_not_in_the_vocabulary,
    flags_of_text_do_not_apply_to_tokens,
    rows_are_trained_on_padding,
)
from autotrain_llm.data.rules.tokens import (
    a_conversation_has_no_answer,
    a_text_already_ends_with_its_end_token,
    a_text_already_starts_with_its_first_token,
    nothing_marks_where_a_text_ends,
)
from autotrain_llm.data.tokenize.prompt_format import PromptFormatCounter
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.data.turns import THOUGHT_KEYS, says_something

Span = tuple[int, int]
Made = TypeVar("Made")
THOUGHT_TAG = re.compile(r"</?think>|\[/?THINK\]")
WORD = re.compile(r"\w+")
RUN = 6  # words of an answer that are shown where they are left out


@dataclass(slots=True)
class RenderedRow:
    """A text to tokenise. `before` and `after` are the ids around it; with `whole` all of it is trained on, else the `spans` of characters.
    At `prompt_end` the prompt ends that the model will later be given by itself: no token may span this position. A row that is tokens already
    has `ids` in place of text, and its spans are those of tokens."""

    text: str
    spans: list[Span] = field(default_factory=list)
    whole: bool = False
    prompt_end: int | None = None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    ids: list[int] | None = None


NO_CLASS = -1.0  # of an evaluation row whose class no training row has, which has been reported


class RowSkipped(Exception):
    """Raised for a row that is left out; the reason has been reported."""


def _spans_of(loss_mask: list[bool]) -> list[Span]:
    """The runs of tokens that are trained on."""
    edges = [
        at
        for at in range(len(loss_mask) + 1)
        if (at < len(loss_mask) and loss_mask[at]) != (at > 0 and loss_mask[at - 1])
    ]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _names(tools: list[dict[str, Any]] | None) -> list[str]:
    """The names of tools, described as OpenAI does or plainly."""
    described = [tool.get("function", tool) for tool in tools or () if isinstance(tool, dict)]
    names = [tool.get("name") for tool in described if isinstance(tool, dict)]
    return [name for name in names if isinstance(name, str)]


def _describes(turn: Message, names: Sequence[str]) -> bool:
    """Whether a system turn describes the tools of these names, as JSON."""
    content = turn.get("content") if turn["role"] == "system" else None
    quotes = "[\"']"
    return isinstance(content, str) and all(
        re.search(rf"{quotes}name{quotes}\s*:\s*{quotes}{re.escape(name)}{quotes}", content) for name in names
    )


def _is_marked_off(message: Message) -> bool:
    """Whether a turn of the assistant is marked as not to be trained on."""
    return message["role"] == "assistant" and message.get("weight") == 0


def _calls_tools(example: Example) -> bool:
    """Whether a turn of the row calls a tool."""
    sides = (example.messages, example.prompt, example.completion, example.chosen, example.rejected)
    return any(turn.get("tool_calls") for side in sides if isinstance(side, list) for turn in side)


def _thinks(answer: Message) -> bool:
    """Whether an answer has reasoning, of its own or in its content."""
    return (
        any(answer.get(key) for key in THOUGHT_KEYS) or THOUGHT_TAG.search(str(answer.get("content") or "")) is not None
    )


def _missing(answer: Message, text: str) -> tuple[str, str] | None:
    """The part of an answer that is not in a text, apart from spaces: its key and its first words; None if all of it is there."""
    for key in ("content", *THOUGHT_KEYS):
        part = answer.get(key)
        if not isinstance(part, str) or part in text:
            continue
        written, words = _letters(text), part.split()
        if _letters(part) not in written:
            runs = (" ".join(words[at : at + RUN]) for at in range(0, len(words), RUN))
            return key, next((run for run in runs if _letters(run) not in written), " ".join(words[:RUN]))[:60]
    return None


def _between_tags(reasoning: str) -> str:
    """Reasoning as models write it before an answer, where no template says otherwise."""
    return f"<think>\n{reasoning}\n</think>\n\n"


def _letters(text: str) -> str:
    """A text without spaces and without the tags around reasoning, which templates write in their own way."""
    return "".join(THOUGHT_TAG.sub("", text).split())


class RowRenderer:
    """Renders every row of a data set as text, the same way for training, evaluation, preview and preflight."""

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        preparation: Preparation,
        template: ChatTemplate | None,
        observations: Observations,
        conversations: bool | None = None,
    ) -> None:
        self.dataset, self.tokenizer, self.preparation = dataset, tokenizer, preparation
        self.template, self.observations = template, observations
        self.template_given = preparation.chat_template not in (None, NONE)
        self.pairs = dataset.format == "preference"
        self.labelled = dataset.format in ("prompt/completion/label", GRADED)
        self.prompts_only = dataset.format == "prompts"
        self.answers_only = preparation.response_only is not False
        self.conversations = (
            any(self.is_conversation(example) for example in chain(dataset.train, dataset.valid))
            if conversations is None
            else conversations
        )
        self.renders = template is not None and self.conversations
        self.prompt_format = PromptFormatCounter()
        self.rows_without_earlier_thoughts = 0
        opening, closing = tokenizer.bos_eos
        if preparation.add_eos and tokenizer.eos_id is not None and not closing:
            closing = [tokenizer.eos_id]
        self.opening, self.closing = list(opening), list(closing)
        self.special_tokens = tokenizer.special_tokens if preparation.scored else ([], [])
        own = self.template.end_token if self.template is not None and self.renders else None
        named = [token for token in dict.fromkeys((own, tokenizer.eos)) if token is not None]
        self.end_tokens = [token for token in named if tokenizer.id_of(token) is not None]
        self.ends = frozenset(number for number in map(tokenizer.id_of, self.end_tokens) if number is not None)
        self.learns_to_end = bool(self.ends) and not (self.prompts_only or preparation.block or preparation.scored)

    def is_conversation(self, example: Example) -> bool:
        """Whether a row is rendered by a chat template."""
        if example.messages is not None:
            return self.template is not None or example.completion is None
        sides: tuple[Side | None, ...] = (example.prompt, example.completion, example.chosen, example.rejected)
        present = [side for side in sides if side is not None]
        return bool(present) and (self.template_given or any(isinstance(side, list) for side in present))

    # -- before any row is rendered -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Report settings that don't fit the data as a whole."""
        observations, preparation, tokenizer = self.observations, self.preparation, self.tokenizer
        if self.conversations and self.template is None and not observations.refused:
            facts = {"column": next(iter(self.dataset.columns.values())), "path": self.dataset.path}
            if preparation.chat_template == NONE:
                observations.add(no_template_is_allowed_for_conversations, **facts)
            else:
                facts["fitting"] = fitting_template(tokenizer)
                observations.add(there_is_no_chat_template, names=tuple(tokenizer.templates), **facts)
        if self.dataset.format == "text":
            column = self.dataset.columns["text"]
            first = next(iter(self.dataset.train), None)
            if preparation.response_only and (first is None or first.trained_spans is None):
                observations.add(plain_text_has_no_responses, column=column)
            if self.template_given:
                template = preparation.chat_template
                observations.add(a_chat_template_is_not_applied_to_plain_text, template=template, column=column)
        if self.dataset.format == TOKENS:
            given = {
                "chat_template": self.template_given,
                "response_only_loss": preparation.response_only is not None and not preparation.block,
                "add_eos_token": preparation.add_eos_given,
            }
            if any(given.values()):
                observations.add(flags_of_text_do_not_apply_to_tokens, flags=[name for name in given if given[name]])
            return
        if self.prompts_only and self.renders and self.template is not None:
            missing = self.template.missing_generation_prompt
            if missing:
                observations.add(the_template_writes_no_generation_prompt, missing=missing)
        if preparation.block and not preparation.add_eos:
            observations.add(nothing_marks_where_a_text_ends, documents=True)
        elif preparation.add_eos and not self.closing and not self.conversations:
            observations.add(nothing_marks_where_a_text_ends, documents=False)

    def grade(self, example: Example) -> list[float] | None:
        """The scores of a graded row, or the index of its class; None for other rows."""
        if example.class_name is not None:
            labels = self.dataset.labels
            return [float(labels.index(example.class_name)) if example.class_name in labels else NO_CLASS]
        return example.scores

    # -- rows -----------------------------------------------------------------------------------------------------------

    def make(self, example: Example) -> list[RenderedRow]:
        """One text, or for a pair the prompt with each of its two answers. Raises RowSkipped for a row that is left out."""
        if example.text is not None:
            return [self._text(example, example.text)]
        if example.input_ids is not None:
            return [self._tokens(example, example.input_ids)]
        if self.pairs:
            sides = (example.chosen, example.rejected)
            return [self._answer(example, example.prompt, side) for side in sides if side is not None]
        if self.prompts_only and example.prompt is not None:
            return [self._prompt(example, example.prompt)]
        if example.messages is not None and self.is_conversation(example):
            return [self._conversation(example, self._with_reasoning(example.messages, example.reasoning), 0)]
        assert example.completion is not None
        return [self._answer(example, example.prompt, example.completion)]

    def _with_reasoning(self, turns: list[Message], reasoning: str | None) -> list[Message]:
        """The turns with reasoning before the last answer, as the template writes it; between tags if it writes none."""
        if reasoning is None:
            return turns
        *before, last = turns
        if self.template is not None and self.template.writes_reasoning:
            return [*before, {**last, THOUGHT_KEYS[0]: reasoning}]
        return [*before, {**last, "content": f"{_between_tags(reasoning)}{last.get('content') or ''}"}]

    def _text(self, example: Example, text: str) -> RenderedRow:
        self.prompt_format.text(example)
        eos = self.tokenizer.eos
        if self.preparation.add_eos_given and self.preparation.add_eos and eos and text.rstrip().endswith(eos):
            self.observations.row(a_text_already_ends_with_its_end_token, example, "text", end=eos, case="text")
        if eos and text.endswith(eos + text[len(text.rstrip()) :]):
            text = text.rstrip()
        before = self._opening(example, text)
        trains_on_all = self.preparation.response_only is False and not self.preparation.block
        if example.trained_spans is None or trains_on_all:
            return RenderedRow(text, whole=True, before=before, after=self.closing)
        spans = [(start, min(end, len(text))) for start, end in example.trained_spans if start < len(text)]
        return RenderedRow(text, spans, before=before, after=self.closing)

    def _tokens(self, example: Example, ids: list[int]) -> RenderedRow:
        """A row that is tokens already: it is checked, and trained on as it is."""
        self.prompt_format.text(example)
        size = self.tokenizer.ids_end
        for unknown in (min(ids), max(ids)):
            if not 0 <= unknown < size:
                self.observations.row(an_id_is_not_in_the_vocabulary, example, unknown < 0, id=unknown, size=size)
                raise RowSkipped
        spans = [(0, len(ids))] if example.loss_mask is None else _spans_of(example.loss_mask)
        pad, trained = self.tokenizer.pad_id, spans and (spans[0][0] == 0, spans[-1][1] == len(ids))
        if pad is not None and pad != self.tokenizer.eos_id and len(ids) > 1 and trained:
            is_padded = [trained[0] and ids[0] == ids[1] == pad, trained[1] and ids[-1] == ids[-2] == pad]
            if any(is_padded):
                self.observations.row(rows_are_trained_on_padding, example, "padding", pad=self.tokenizer.pad)
        return RenderedRow("", spans, ids=ids)

    def _opening(self, example: Example, text: str) -> list[int]:
        """The ids before a text; no BOS if the text itself begins with it."""
        bos = self.tokenizer.bos
        if self.opening and bos and text.startswith(bos) and self.opening[-1] == self.tokenizer.bos_id:
            self.observations.row(a_text_already_starts_with_its_first_token, example, bos=bos)
            return self.opening[:-1]
        return self.opening

    def _answer(self, example: Example, prompt: Side | None, answer: Side) -> RenderedRow:
        """A prompt and what follows it."""
        if self.template_given or isinstance(prompt, list) or isinstance(answer, list):
            turns = [] if prompt is None else as_turns(prompt, "user")
            answers = self._with_reasoning(as_turns(answer, "assistant"), example.reasoning)
            return self._conversation(example, [*turns, *answers], len(turns))
        self.prompt_format.text(example)
        question = prompt or ""
        answer = answer if example.reasoning is None else _between_tags(example.reasoning) + answer
        text = question + answer
        spans = [(len(question), len(text))]
        before = self._opening(example, text)
        whole = not self.answers_only and not self.pairs
        return RenderedRow(text, spans, whole, prompt_end=len(question), before=before, after=self.closing)

    def _prompt(self, example: Example, prompt: Side) -> RenderedRow:
        if self.template_given or isinstance(prompt, list):
            turns = as_turns(prompt, "user")
            self.prompt_format.chat(turns)
            text = self._guarded(
                example, lambda template: template.render(turns, example.tools, add_generation_prompt=True)
            )
            return RenderedRow(text)
        self.prompt_format.text(example)
        return RenderedRow(prompt, before=self._opening(example, prompt))

    def _conversation(self, example: Example, messages: list[Message], first: int) -> RenderedRow:
        self.prompt_format.chat(messages)
        wants_answers = self.answers_only or self.pairs
        if wants_answers and not any(message["role"] == "assistant" for message in messages[first:]):
            self.observations.row(a_conversation_has_no_answer, example, case="no assistant")
            raise RowSkipped
        if wants_answers and not self.pairs:
            self._check_empty_answers(example, messages, first)
        rendered: Rendered = self._guarded(
            example, lambda template: render_with_answers(template, messages, example.tools, first)
        )
        if rendered.unclear and wants_answers:
            turn, why = rendered.unclear
            self.observations.row(an_answer_can_not_be_located, example, "unclear", turn=turn + 1, why=why)
            raise RowSkipped
        if rendered.lost:
            turn = rendered.lost[0] + 1
            self.observations.row(the_template_leaves_out_an_answer, example, "lost", case="dropped", turn=turn)
        if wants_answers and not rendered.spans:
            if not rendered.lost:
                self._observe_no_span(example, messages[first:])
            raise RowSkipped
        if not rendered.whole:
            self._check_left_out(example, messages, rendered.text)
            if not rendered.lost:
                self._check_answers_whole(example, messages, first, rendered.text)
            self._check_calls(example, messages, rendered)
        self._check_prompt(example, rendered)
        end = self.template.end_token if self.template else None
        if end and any(
            is_answer(message) and str(message.get("content") or "").rstrip().endswith(end) for message in messages
        ):
            self.observations.row(a_text_already_ends_with_its_end_token, example, "answer", end=end, case="answer")
        if not wants_answers and any(_is_marked_off(message) for message in messages):
            rendered.spans = self._all_but_marked(example, messages, rendered.text)
            return self._closed(rendered, messages, True)
        return self._closed(rendered, messages, wants_answers)

    def _all_but_marked(self, example: Example, messages: list[Message], text: str) -> list[Span]:
        """Everything but the turns that are marked as not to be trained on, where prompts are trained on too."""
        marks = ({} if _is_marked_off(message) else {"weight": 0} for message in messages)
        flipped = [
            {key: value for key, value in message.items() if key != "weight"} | mark
            for message, mark in zip(messages, marks, strict=True)
        ]
        marked = self._guarded(example, lambda template: render_with_answers(template, flipped, example.tools))
        edges = [0, *chain.from_iterable(marked.spans), len(text)]
        return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]

    def _check_left_out(self, example: Example, messages: list[Message], text: str) -> None:
        """Whether the template leaves out a turn of system, user or tool, or the name of who speaks."""
        for number, message in enumerate(messages, 1):
            content, role = message.get("content"), message["role"]
            words = content.strip() if isinstance(content, str) else ""
            is_left_out = role in ("system", "user") and words and words not in text
            if role == "tool":  # templates write results as JSON, with other spaces and escapes
                is_left_out = bool(words) and not any(word in text for word in WORD.findall(words))
            if is_left_out:
                self.observations.row(the_template_leaves_out_a_turn, example, role, turn=number, role=role)
                return
            name = message.get("name")
            if isinstance(name, str) and role != "tool" and name not in text:
                facts = {"column": next(iter(self.dataset.columns.values())), "keys": {"name": name}}
                self.observations.row(a_key_is_not_used, example, "name", **facts)

    def _check_answers_whole(self, example: Example, messages: list[Message], first: int, text: str) -> None:
        """Report a template that leaves out part of an answer after the last user turn; reasoning in earlier turns is dropped on purpose."""
        last_user = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
        earlier = (messages[at] for at in range(first, last_user) if is_answer(messages[at]))
        self.rows_without_earlier_thoughts += any(
            _thinks(turn) and _missing(turn, text) is not None for turn in earlier
        )
        for at in range(max(first, last_user + 1), len(messages)):
            missing = _missing(messages[at], text) if is_answer(messages[at]) else None
            if missing is not None:
                key, words = missing
                facts = {"turn": at + 1, "key": key, "missing": words}
                self.observations.row(the_template_leaves_out_part_of_an_answer, example, key, **facts)
                return

    def _check_calls(self, example: Example, messages: list[Message], rendered: Rendered) -> None:
        """Whether the template leaves out the tools of a conversation, or what its turns call."""
        calls = [call["function"].get("name") for message in messages for call in message.get("tool_calls", ())]
        left_out = [piece.text for piece in rendered.left_out if piece.kind in (NAME, ARGUMENT)]
        if any(isinstance(name, str) and name not in rendered.text for name in calls):
            says_nothing = not any(str(turn.get("content") or "").strip() for turn in messages if is_answer(turn))
            case = "answers" if says_nothing else "calls"
            self.observations.row(the_template_leaves_out_tools, example, case, case=case)
        elif left_out:
            missing = next((words for words in left_out if words not in rendered.text), left_out[0])
            self.observations.row(the_template_leaves_out_tools, example, "part", case="part", missing=missing)
        elif (names := _names(example.tools)) and _describes(messages[0], names):
            if self.template is not None and self.template.writes_tools:
                column = self.dataset.columns.get("tools", "tools")
                self.observations.row(tools_are_written_twice, example, column=column)
        elif names and not self._writes_tools(names, rendered.text):
            self.observations.row(the_template_leaves_out_tools, example, case="tools")

    def _writes_tools(self, names: Sequence[str], text: str) -> bool:
        """Whether the tools of these names are written; a question or a call may have the name alone."""
        return (self.template is None or self.template.writes_tools) and all(name in text for name in names)

    def _check_prompt(self, example: Example, rendered: Rendered) -> None:
        """Report a generation prompt that ends with text that is not there in training."""
        opening = self.template.prompt_only if self.template is not None else ""
        start = rendered.spans[-1][0] if rendered.spans else 0
        if opening and start and not rendered.text[:start].rstrip().endswith(opening.rstrip()):
            self.observations.row(the_generation_prompt_is_not_trained_on, example, opening=opening)

    def _closed(self, rendered: Rendered, messages: list[Message], wants_answers: bool) -> RenderedRow:
        """The rendered text; with the end token after a final answer if the template writes no token there."""
        text, spans = rendered.text, rendered.spans
        ends_open = self.template is not None and self.template.end_token is None
        last = spans[-1][1] if spans else len(text)
        after: list[int] = []
        if (
            self.preparation.add_eos
            and ends_open
            and messages[-1]["role"] == "assistant"
            and self.tokenizer.eos_id is not None
        ):
            text, after = text[:last], [self.tokenizer.eos_id]
        if self.pairs and not self.preparation.scored:
            text = text[:last]
        prompt_end = spans[0][0] if self.pairs and spans else None
        before, closing = self.special_tokens
        return RenderedRow(text, spans, not wants_answers, prompt_end, before=before, after=after or closing)

    def _guarded(self, example: Example, make: Callable[[ChatTemplate], Made]) -> Made:
        """What `make` returns for the template; a row that the template refuses is left out."""
        if self.template is None:
            raise RowSkipped
        try:
            return make(self.template)
        except ChatTemplateError as problem:
            writes_calls = "tool_calls" in self.template.source or not _calls_tools(example)
            facts = {"problem": str(problem), "writes_calls": writes_calls}
            self.observations.row(the_template_refuses_a_conversation, example, **facts)
            raise RowSkipped from problem

    def _check_empty_answers(self, example: Example, messages: list[Message], first: int) -> None:
        """Report empty answers. A row without any other answer is left out."""
        answers = [at for at, message in enumerate(messages) if at >= first and is_answer(message)]
        empty = [at for at in answers if not says_something(messages[at])]
        if answers and len(empty) == len(answers):
            self.observations.row(a_conversation_has_no_answer, example, case="all empty")
            raise RowSkipped
        if empty:
            facts = {"case": "one empty", "turn": empty[0] + 1}
            self.observations.row(a_conversation_has_no_answer, example, "one empty", **facts)

    def _observe_no_span(self, example: Example, messages: list[Message]) -> None:
        """Report why no part of a conversation with answers is trained on."""
        answers = [message for message in messages if message["role"] == "assistant"]
        if answers and all(message.get("weight") == 0 for message in answers):
            self.observations.row(a_conversation_has_no_answer, example, case="weights")
        elif any(says_something(message) for message in answers):
            self.observations.row(the_template_leaves_out_an_answer, example, case="writes nothing")
        else:
            self.observations.row(a_conversation_has_no_answer, example, case="all empty")
