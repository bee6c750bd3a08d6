"""A conversation with a finished model, or with two side by side. Nothing here reads from or writes to a terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from signal import SIGINT
from typing import Any

from peft import PeftModel

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.context.signals import signal_of
from autotrain_llm.context.starting_model import second_model
from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example, Message
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding
from autotrain_llm.models.locate import ADAPTER
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.run.engine.loading import from_located
from autotrain_llm.run.generation.answering import AnsweringModel, device_and_dtype, loading_options
from autotrain_llm.run.generation.completion_text import StreamedText
from autotrain_llm.run.generation.rendering import Rendering, ids_of_prompt, rendering_of

FINISHED, CUT_OFF, STOPPED = "finished", "cut off", "stopped"


@dataclass(frozen=True)
class Reply:
    """An answer, and how it ended: with the model's end token, at the last token that was allowed, or stopped by Ctrl-C."""

    text: str
    end: str


class Unanswerable(Exception):
    """A conversation that the chat template refuses, or that leaves no room for an answer. The message says which."""


class Speaker:
    """A model in a conversation. `turns` is what has been said without the system prompt, `exchange` the last message and its answer."""

    def __init__(
        self,
        name: str,
        model: AnsweringModel,
        tokenizer: Tokenizer,
        rendering: Rendering,
        context_length: int | None,
        active: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`active` is the context in which the model's weights are this speaker's: without an adapter that another one has."""
        self.name, self.model, self.tokenizer, self.rendering = name, model, tokenizer, rendering
        self.context_length, self.active = context_length, active
        self.turns: list[Message] = []
        self.exchange: tuple[str, str] | None = None

    def answer(self, text: str, write: Callable[[str], None]) -> Reply:
        """Answer a message; `write` is called with each piece of the answer once it can no longer change, and the pieces are the answer. Ctrl-C
        ends the answer. Raises Unanswerable, and nothing has been said then."""
        message: Message = {"role": "user", "content": text}
        ids = self._ids([*self.turns, message], text)
        stream = StreamedText(self.tokenizer, self.model.end_tokens, write)
        end = CUT_OFF
        try:
            with self.active():
                (sample,) = self.model.answer([ids], lambda tokens: stream.add(tokens[0]))
            end = FINISHED if sample.finished else CUT_OFF
        except KeyboardInterrupt as stopped:
            if signal_of(stopped) != SIGINT:
                raise
            end = STOPPED
        reply = Reply(stream.finish(), end)
        self.exchange = (text, reply.text)
        if self.rendering.is_chat:
            self.turns += [message, {"role": "assistant", "content": reply.text}]
        return reply

    def _ids(self, turns: list[Message], text: str) -> list[int]:
        prompt = Example(file="", row=1, prompt=turns if self.rendering.is_chat else text)
        try:
            ids = ids_of_prompt(prompt, self.rendering, self.tokenizer)
        except ChatTemplateError as problem:
            raise Unanswerable(f"the chat template refuses it: {problem}") from problem
        if self.context_length is not None and len(ids) >= self.context_length:
            what = "the conversation" if len(turns) > 1 else "the message"
            limit = f"the context of {self.context_length} that {self.name} has"
            raise Unanswerable(f"{what} has {len(ids)} tokens, which leaves no room for an answer in {limit}")
        return ids

    def take_back(self) -> str | None:
        """Forget the last message and its answer; the message, None if nothing has been said."""
        if self.exchange is None:
            return None
        text, self.exchange = self.exchange[0], None
        del self.turns[-2:]
        if self.turns:
            self.exchange = (str(self.turns[-2]["content"]), str(self.turns[-1]["content"]))
        return text

    def reset(self) -> None:
        """Forget everything that has been said."""
        self.turns, self.exchange = [], None

    def set_system(self, system: str) -> None:
        """Begin a new conversation with this system prompt."""
        self.rendering = replace(self.rendering, system=system)
        self.reset()

    def row(self) -> dict[str, Any] | None:
        """The conversation as a row to train on, with its system prompt; of a model that continues text, the last text and its continuation."""
        if self.exchange is None:
            return None
        if not self.rendering.is_chat:
            return dict(zip(("prompt", "completion"), self.exchange, strict=True))
        return {"messages": self.rendering.turns_of(Example(file="", row=1, prompt=list(self.turns)))}


@dataclass(frozen=True)
class Chat:
    """The models that answer, and the findings about how they are prompted."""

    speakers: tuple[Speaker, ...]
    findings: tuple[Finding, ...]


def open_chat(context: RunContext) -> Chat:
    """Load the models of a checked command. Raises Refused if `--chat-template` can't be used."""
    config, first, tokenizer = context.config, context.model, context.tokenizer
    assert first is not None and tokenizer is not None
    rendering = rendering_of(config, tokenizer, first)
    name = str(config.model)
    if config.against is None:
        speakers = [Speaker(name, _loaded(first, context), tokenizer, rendering, first.context_length)]
    else:
        second = context.models.secondary("against", second_model(config.against, first))
        assert second is not None and second.tokenizer_folder is not None
        other = Tokenizer.load(second.tokenizer_folder)
        form = _of_second(config, other, second, rendering)
        (one, two), (as_first, as_second) = _both_loaded(first, second, context)
        speakers = [
            Speaker(name, one, tokenizer, rendering, first.context_length, as_first),
            Speaker(second.name, two, other, form, second.context_length, as_second),
        ]
    prompt = Example(file="", row=1, prompt="")
    found = [finding for speaker in speakers for finding in speaker.rendering.findings([prompt], speaker.name)]
    return Chat(tuple(speakers), tuple(dict.fromkeys(found)))


def _of_second(config: Config, tokenizer: Tokenizer, metadata: ModelMetadata, first: Rendering) -> Rendering:
    """How the second model is prompted: as it was trained, if that is known; else with the first one's system prompt, and its template where the
    second has none."""
    own = rendering_of(config, tokenizer, metadata)
    if own.trained is not None:
        return own
    template = own.template
    if template is None and own.given is None and first.is_chat and first.template is not None:
        template = ChatTemplate(first.template.source, tokenizer, first.template.name)
    return replace(own, template=template, system=first.system_prompt or None)


Contexts = tuple[Callable[[], AbstractContextManager[Any]], Callable[[], AbstractContextManager[Any]]]


def _both_loaded(
    first: ModelMetadata, second: ModelMetadata, context: RunContext
) -> tuple[tuple[AnsweringModel, AnsweringModel], Contexts]:
    """Two models, and the contexts in which they answer. If the second is the base of the first, an adapter, it is loaded once, and the adapter is
    switched off for it."""
    if not shares_base(first, second):
        return (_loaded(first, context), _loaded(second, context, is_second=True)), (nullcontext, nullcontext)
    config = context.config
    device, dtype = device_and_dtype(config, context)
    base = from_located(second.located, dtype, _options(context, is_second=True))
    adapted = PeftModel.from_pretrained(base, str(first.located.folder)).to(device).eval()
    causal = adapted.get_base_model()
    models = (
        AnsweringModel(causal, config, first.context_length),
        AnsweringModel(causal, config, second.context_length),
    )
    return models, (nullcontext, adapted.disable_adapter)


def shares_base(first: ModelMetadata, second: ModelMetadata) -> bool:
    """Whether the first model is an adapter of the second that leaves its embedding as it is."""
    base = first.located.base
    if first.located.kind != ADAPTER or base is None or first.added_rows not in (None, second.embedding_rows):
        return False
    if base.folder is None or second.located.folder is None:
        return base == second.located
    return base.folder.resolve() == second.located.folder.resolve()


def _loaded(metadata: ModelMetadata, context: RunContext, is_second: bool = False) -> AnsweringModel:
    device, dtype = device_and_dtype(context.config, context)
    causal = from_located(metadata.located, dtype, _options(context, is_second)).to(device).eval()
    return AnsweringModel(causal, context.config, metadata.context_length)


def _options(context: RunContext, is_second: bool) -> dict[str, Any]:
    """The keyword arguments of from_pretrained; `--revision` is about the first model."""
    options = loading_options(context.config, context.token)
    return {name: value for name, value in options.items() if name != "revision"} if is_second else options
