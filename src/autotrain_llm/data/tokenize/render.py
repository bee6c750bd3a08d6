"""`RowRenderer`: each row as the text that will be tokenised, with what of it is trained on and what stands around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

from autotrain_llm.data.chat.assistant_masks import Rendered, is_answer, render_with_answers
from autotrain_llm.data.chat.jinja_engine import REASONING
from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError
from autotrain_llm.data.dataset import Dataset
from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenize.settings import Preparation
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.data.wording import shown
from autotrain_llm.declare.finding import ERROR, WARNING

Span = tuple[int, int]
Made = TypeVar("Made")
THOUGHT_TAG = re.compile(r"</?think>|\[/?THINK\]")
RUN = 6  # words of an answer that are shown where they are left out


@dataclass(slots=True)
class RenderedRow:
    """A text to tokenise. `before` and `after` are ids put around it; `whole` trains on everything, else `spans` says on which characters.

    `prompt_end` is where a prompt ends that the model will later be given alone: no token may reach across it.
    """

    text: str
    spans: list[Span] = field(default_factory=list)
    whole: bool = False
    prompt_end: int | None = None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)


class RowSkipped(Exception):
    """This row was left out, and why has been said."""


def _names(tools: list[dict[str, Any]] | None) -> list[str]:
    """The names of tools, described as OpenAI does or plainly."""
    described = [tool.get("function", tool) for tool in tools or () if isinstance(tool, dict)]
    names = [tool.get("name") for tool in described if isinstance(tool, dict)]
    return [name for name in names if isinstance(name, str)]


def _says_something(answer: Message) -> bool:
    return bool(str(answer.get("content") or "").strip()) or any(answer.get(key) for key in ("tool_calls", *REASONING))


def _missing(answer: Message, text: str) -> tuple[str, str] | None:
    """What of an answer is not in a text, spaces aside: which key of it, and its first words; None where all of it is there."""
    for key in ("content", *REASONING):
        said = answer.get(key)
        if not isinstance(said, str) or said in text:
            continue
        written, words = _letters(text), said.split()
        if _letters(said) not in written:
            runs = (" ".join(words[at : at + RUN]) for at in range(0, len(words), RUN))
            return key, next((run for run in runs if _letters(run) not in written), " ".join(words[:RUN]))[:60]
    return None


def _letters(text: str) -> str:
    """A text without spaces, and without the tags around a thought, which templates write in their own way."""
    return "".join(THOUGHT_TAG.sub("", text).split())


class RowRenderer:
    """Makes the pieces of every row of a data set, the same way for training, evaluation, preview and preflight."""

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
        self.asked = preparation.chat_template not in (None, NONE)
        self.pairs = dataset.format == "preference"
        self.labelled = dataset.format == "prompt/completion/label"
        self.prompts_only = dataset.format == "prompts"
        self.answers_only = preparation.response_only is not False
        self.conversations = (
            any(self.is_conversation(example) for example in chain(dataset.train, dataset.valid))
            if conversations is None
            else conversations
        )
        self.renders = template is not None and self.conversations
        self.opening, self.closing = self._frame()
        self.special_tokens = tokenizer.special_tokens if preparation.scored else ([], [])
        own = self.template.end_token if self.template is not None and self.renders else None
        named = [token for token in dict.fromkeys((own, tokenizer.eos)) if token is not None]
        self.end_tokens = [token for token in named if tokenizer.id_of(token) is not None]
        self.ends = frozenset(number for number in map(tokenizer.id_of, self.end_tokens) if number is not None)
        self.learns_to_end = bool(self.ends) and not (self.prompts_only or preparation.block or preparation.scored)

    def _frame(self) -> tuple[list[int], list[int]]:
        """The ids around a plain text: the tokenizer's own, and the end token."""
        opening, closing = self.tokenizer.bos_eos
        eos = self.tokenizer.eos_id
        if self.preparation.add_eos and eos is not None and not closing:
            closing = [eos]
        return list(opening), list(closing)

    def is_conversation(self, example: Example) -> bool:
        """Whether a row is rendered by a chat template."""
        if example.messages is not None:
            return self.template is not None or example.completion is None
        sides: tuple[Side | None, ...] = (example.prompt, example.completion, example.chosen, example.rejected)
        held = [side for side in sides if side is not None]
        return bool(held) and (self.asked or any(isinstance(side, list) for side in held))

    # -- what can be said before any row is made ------------------------------------------------------------------------

    def check(self) -> None:
        """Findings about how the settings fit the data as a whole."""
        if self.conversations and self.template is None and not self.observations.refused:
            self._say_no_template()
        if self.dataset.format == "text":
            self._check_plain_text()
        if self.prompts_only and self.renders and self.template is not None:
            self._check_prompt_ends(self.template)
        if self.preparation.block and not self.preparation.add_eos:
            message = "--no-add-eos-token: documents run into each other with nothing between them"
            self._say("D155", message, "", ("add_eos_token",), {"add_eos_token": True}, WARNING)
        elif self.preparation.add_eos and not self.closing and not self.conversations:
            message = "the tokenizer of --model has no eos_token: nothing will mark where a text ends"
            fix = "set eos_token in its tokenizer_config.json"
            parameters = ("model", "add_eos_token")
            self.observations.say("D155", message, fix=fix, parameters=parameters, severity=WARNING)

    def _say(
        self,
        code: str,
        message: str,
        otherwise: str,
        parameters: tuple[str, ...],
        changes: Mapping[str, Any],
        severity: str = ERROR,
    ) -> None:
        self.observations.say(
            code, message, parameters=parameters, changes=changes, otherwise=otherwise, severity=severity
        )

    def _check_prompt_ends(self, template: ChatTemplate) -> None:
        """A warning where prompts lack what the template writes before an answer, because it takes no notice of being asked for it."""
        head = template.missing_generation_prompt
        if head:
            message = (
                f"the chat template ignores add_generation_prompt: each prompt ends without the {head.strip()} that it writes before "
                "an answer, so that answers have to begin with that or go on as the user"
            )
            ending = f"{{% if add_generation_prompt %}}{{{{ {head!r} }}}}{{% endif %}}"
            fix = f"end the template with {ending}, or --chat-template chatml"
            self.observations.say("D171", message, fix=fix, parameters=("chat_template",), severity=WARNING)

    def _say_no_template(self) -> None:
        column = next(iter(self.dataset.columns.values()))
        if self.preparation.chat_template == NONE:
            message = (
                f"--chat-template none, and {shown(column)} of {self.dataset.path} holds messages (a list of turns)"
            )
            self._say("D142", message, "or write the rows as text", ("chat_template",), {"chat_template": None})
            return
        others = f" called default, only {', '.join(self.tokenizer.templates)}," if self.tokenizer.templates else ""
        message = (
            f"{shown(column)} of {self.dataset.path} holds conversations, and the tokenizer of --model has no chat_template{others} to "
            "write them with (--chat-template)"
        )
        otherwise = "or --model with the instruct version"
        self._say("D140", message, otherwise, ("chat_template", "model"), {"chat_template": "chatml"})

    def _check_plain_text(self) -> None:
        column = self.dataset.columns["text"]
        if self.preparation.response_only:
            message = (
                f"--response-only-loss needs answers to tell apart, and {shown(column)} is plain text; "
                "--chat-template is not applied to text"
            )
            otherwise = "or rows with messages or with prompt and completion"
            self._say(
                "D144", message, otherwise, ("response_only_loss", "chat_template"), {"response_only_loss": False}
            )
        if self.asked:
            message = (
                f"--chat-template {self.preparation.chat_template}: {shown(column)} is plain text (str), not messages; "
                "the template is never applied"
            )
            otherwise = "or give rows with messages"
            self._say("D143", message, otherwise, ("chat_template",), {"chat_template": None}, WARNING)

    # -- rows -----------------------------------------------------------------------------------------------------------

    def make_all(
        self, examples: Sequence[Example], start: int, stop: int, dropped: Callable[[], None]
    ) -> list[tuple[int, list[RenderedRow]]]:
        """The pieces of the rows from `start` to `stop`, by number; `dropped` is called for each that has none."""
        return list(self._made(examples, start, stop, dropped))

    def _made(
        self, examples: Sequence[Example], start: int, stop: int, dropped: Callable[[], None]
    ) -> Iterator[tuple[int, list[RenderedRow]]]:
        for at in range(start, stop):
            try:
                yield at, self.make(examples[at])
            except RowSkipped:
                dropped()

    def make(self, example: Example) -> list[RenderedRow]:
        """One piece, or for a pair the prompt with each of its two answers."""
        if example.text is not None:
            return [self._text(example, example.text)]
        if self.pairs:
            sides = (example.chosen, example.rejected)
            return [self._answer(example, example.prompt, side) for side in sides if side is not None]
        if self.prompts_only and example.prompt is not None:
            return [self._prompt(example, example.prompt)]
        if example.messages is not None and self.is_conversation(example):
            return [self._conversation(example, example.messages, 0)]
        assert example.completion is not None
        return [self._answer(example, example.prompt, example.completion)]

    def _text(self, example: Example, text: str) -> RenderedRow:
        eos = self.tokenizer.eos
        if self.preparation.add_eos_given and self.preparation.add_eos and eos and text.rstrip().endswith(eos):
            what = f"the text already ends with {eos}; --add-eos-token adds no second one"
            self._row("D150", example, what, f"leave out --add-eos-token, or {eos} in the text", ("add_eos_token",))
        if eos and text.endswith(eos + text[len(text.rstrip()) :]):
            text = text.rstrip()
        return RenderedRow(text, whole=True, before=self._opening(example, text), after=self.closing)

    def _opening(self, example: Example, text: str) -> list[int]:
        """The ids before a text; not a second one where the text begins with that token itself."""
        bos = self.tokenizer.bos
        if self.opening and bos and text.startswith(bos) and self.opening[-1] == self.tokenizer.bos_id:
            what = f"the text starts with {bos}, and the tokenizer adds {bos} (BOS) of its own; only one was kept"
            self._row("D149", example, what, f"leave {bos} out of the text", ("data_path",))
            return self.opening[:-1]
        return self.opening

    def _answer(self, example: Example, prompt: Side | None, answer: Side) -> RenderedRow:
        """A prompt and what follows it."""
        if self.asked or isinstance(prompt, list) or isinstance(answer, list):
            turns = [] if prompt is None else as_turns(prompt, "user")
            return self._conversation(example, [*turns, *as_turns(answer, "assistant")], len(turns))
        asked = prompt or ""
        text = asked + answer
        spans = [(len(asked), len(text))]
        before = self._opening(example, text)
        whole = not self.answers_only and not self.pairs
        return RenderedRow(text, spans, whole, prompt_end=len(asked), before=before, after=self.closing)

    def _prompt(self, example: Example, prompt: Side) -> RenderedRow:
        if self.asked or isinstance(prompt, list):
            turns = as_turns(prompt, "user")
            text = self._guarded(
                example, lambda template: template.render(turns, example.tools, add_generation_prompt=True)
            )
            return RenderedRow(text)
        return RenderedRow(prompt, before=self._opening(example, prompt))

    def _conversation(self, example: Example, messages: list[Message], first: int) -> RenderedRow:
        wants_answers = self.answers_only or self.pairs
        if wants_answers and not any(message["role"] == "assistant" for message in messages[first:]):
            self._row(
                "D147", example, "no assistant turn: there is no answer to learn", "add the answers, or delete the row"
            )
            raise RowSkipped
        if wants_answers and not self.pairs:
            self._check_answers(example, messages, first)
        rendered: Rendered = self._guarded(
            example, lambda template: render_with_answers(template, messages, example.tools, first)
        )
        if rendered.lost:
            self._say_lost(example, messages, rendered)
        if wants_answers and not rendered.spans:
            if not rendered.lost:
                self._say_no_span(example, messages[first:])
            raise RowSkipped
        if not rendered.whole:
            self._check_left_out(example, messages, rendered.text)
            if not rendered.lost:
                self._check_answers_whole(example, messages, first, rendered.text)
            self._check_calls(example, messages, rendered.text)
        self._check_ends(example, messages)
        return self._closed(rendered, messages, wants_answers)

    def _say_lost(self, example: Example, messages: list[Message], rendered: Rendered) -> None:
        """An answer that can't be found in what the template made of it."""
        number = rendered.lost[0] + 1
        said = str(messages[number - 1].get("content") or "").strip()
        what = (
            f"the chat template changes turn {number} so that its answer can't be told from the rest; it is not trained on"
            if said and said in rendered.text
            else f"the chat template writes nothing of what turn {number} (assistant) says; it is not trained on"
        )
        self._row("D148", example, what, "--chat-template chatml, or one turn a row", ("chat_template",))

    def _say_no_span(self, example: Example, messages: list[Message]) -> None:
        """Why nothing of a conversation that has answers is learnt."""
        answers = [message for message in messages if message["role"] == "assistant"]
        if answers and all(message.get("weight") == 0 for message in answers):
            what, fix = (
                "every assistant turn has weight 0: there is no answer to learn",
                "give a weight of 1 to what is to be learnt",
            )
            self._row("D147", example, what, fix, key="weights")
        elif any(_says_something(message) for message in answers):
            what = "the chat template writes nothing of what the assistant's turns say; the row is not trained on"
            self._row("D148", example, what, "--chat-template chatml", ("chat_template",), "writes nothing")
        else:
            what = "every assistant turn is empty: there is no answer to learn"
            self._row("D147", example, what, "fill it or delete the row")

    def _check_left_out(self, example: Example, messages: list[Message], text: str) -> None:
        """A warning where the template leaves out a turn of system or user."""
        for number, message in enumerate(messages, 1):
            content = message.get("content")
            said = content.strip() if isinstance(content, str) else ""
            if message["role"] in ("system", "user") and said and said not in text:
                what = f"the chat template leaves out turn {number} ({message['role']}): it is not learnt from"
                fix = "--chat-template chatml, or write it into the user's first turn"
                self._row("D136", example, what, fix, ("chat_template",), f"left out {message['role']}")
                return

    def _check_answers_whole(self, example: Example, messages: list[Message], first: int, text: str) -> None:
        """A warning where the template leaves out part of an answer behind the last question; of earlier ones thoughts are dropped on purpose."""
        asked = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
        for at in range(max(first, asked + 1), len(messages)):
            missing = _missing(messages[at], text) if is_answer(messages[at]) else None
            if missing is None:
                continue
            which, fix = "", "--chat-template FILE, with one that writes all of it, or --chat-template chatml"
            if missing[0] != "content":
                which = f" ({missing[0]})"
                fix = (
                    "--chat-template FILE, with one that writes thoughts, or write them into content: <think>…</think>"
                )
            what = f"the chat template leaves out part of what turn {at + 1} (assistant) says{which}: {missing[1]!r}; it is not learnt"
            self._row("D169", example, what, fix, ("chat_template",), f"left out of {missing[0]}")
            return

    def _check_ends(self, example: Example, messages: list[Message]) -> None:
        """A warning where an answer brings the end token with it."""
        end = self.template.end_token if self.template else None
        if end and any(
            is_answer(message) and str(message.get("content") or "").rstrip().endswith(end) for message in messages
        ):
            what = f"an answer ends with {end}, and the chat template writes {end} behind it: it is learnt twice"
            self._row("D150", example, what, f"leave {end} out of the turns", key="twice")

    def _check_answers(self, example: Example, messages: list[Message], first: int) -> None:
        """A warning where an answer says nothing, and none is learnt where no answer of the row says anything."""
        answers = [at for at, message in enumerate(messages) if at >= first and is_answer(message)]
        empty = [at for at in answers if not _says_something(messages[at])]
        if answers and len(empty) == len(answers):
            what = "every assistant turn is empty: there is no answer to learn; the row was left out"
            self._row("D147", example, what, "fill it or delete the row", key="all empty")
            raise RowSkipped
        if empty:
            what = f"turn {empty[0] + 1} (assistant) is empty: what is learnt from it is to say nothing"
            self._row("D147", example, what, "fill it, or take the turn out", key="one empty")

    def _check_calls(self, example: Example, messages: list[Message], text: str) -> None:
        """A warning where the template leaves out the tools of a conversation, or what its turns call."""
        called = [call["function"].get("name") for message in messages for call in message.get("tool_calls", ())]
        if any(isinstance(name, str) and name not in text for name in called):
            what = "the chat template leaves out the tool calls of its turns: they are not learnt"
        elif any(name not in text for name in _names(example.tools)):
            what = "the chat template leaves out the tools that are described beside the turns"
        else:
            return
        fix = "--chat-template FILE, with one that writes tools, or --model with one that calls tools"
        self._row("D131", example, what, fix, ("chat_template",), what)

    def _closed(self, rendered: Rendered, messages: list[Message], wants_answers: bool) -> RenderedRow:
        """The rendered text; with the end token after a last answer that the template ends with no token."""
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
        """What the template makes of a row; a row that it refuses is left out."""
        if self.template is None:
            raise RowSkipped
        try:
            return make(self.template)
        except ChatTemplateError as problem:
            what = f"the chat template refuses it: {problem}"
            key = f"template: {problem}"
            self._row(
                "D146",
                example,
                what,
                "mend or delete the row, or --chat-template chatml",
                ("chat_template",),
                key,
                ERROR,
            )
            raise RowSkipped from problem

    def _row(
        self,
        code: str,
        example: Example,
        what: str,
        fix: str,
        parameters: tuple[str, ...] = ("data_path",),
        key: str | None = None,
        severity: str = WARNING,
    ) -> None:
        self.observations.row(
            code,
            example.file,
            example.row,
            what,
            line=example.line,
            fix=fix,
            severity=severity,
            parameters=parameters,
            key=code if key is None else key,
        )
