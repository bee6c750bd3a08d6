"""How a finished model is prompted: in the form of the rows that it was trained on, as text and as ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.trained_format import trained_format
from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError, find_template
from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.tokenize import reward_inputs as scored
from autotrain_llm.data.tokenize.prompt_format import ALPACA, CHAT, MIXED, TEXT, PromptFormat
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import WARNING, Finding, Refused
from autotrain_llm.models.metadata import ModelMetadata
from autotrain_llm.run.generation.prompts import refused_prompt


@dataclass(frozen=True)
class Rendering:
    """How prompts become text: by `template`, or without one. `given` is what `--chat-template` says, `trained` how the model's rows were
    written, `system` the system prompt of `--system`."""

    template: ChatTemplate | None
    given: str | None
    trained: PromptFormat | None
    system: str | None = None

    @property
    def writes_instructions(self) -> bool:
        """Whether the model was trained on instructions in Alpaca's form, without a chat template."""
        return self.given is None and self.trained == PromptFormat(TEXT, ALPACA)

    def template_of(self, prompt: Example) -> ChatTemplate | None:
        """The template for a prompt; None if it is plain text, as the rows were that the model was trained on."""
        if self.writes_instructions:
            return None if prompt.completion is not None else self.template
        as_text = self.given is None and self.trained is not None and self.trained.rows == TEXT
        return None if as_text and _turns_of(prompt) is None else self.template

    @property
    def is_chat(self) -> bool:
        """Whether a prompt can be the end of a conversation: a template writes it, and the model was not trained on single instructions."""
        return self.template_of(Example(file="", row=1, prompt="")) is not None and not self.writes_instructions

    @property
    def system_prompt(self) -> str:
        """The system prompt of `--system`, else the one that all rows of the training began with; empty for none."""
        return self.system or (self.trained.system if self.trained is not None else None) or ""

    def turns_of(self, prompt: Example) -> list[Any]:
        """The turns of a prompt, after the system prompt unless they have their own."""
        turns = _turns_of(prompt) or [{"role": "user", "content": _plain_prompt(prompt)}]
        if not self.system_prompt or turns[0].get("role") == "system":
            return turns
        return [{"role": "system", "content": self.system_prompt}, *turns]

    def text_of(self, prompt: Example) -> str:
        """A prompt as text. Raises ChatTemplateError if the template refuses it."""
        template = self.template_of(prompt)
        if template is None:
            return _text_of(prompt)
        return template.render(self.turns_of(prompt), prompt.tools, add_generation_prompt=True)

    def findings(self, prompts: Sequence[Example], model: str) -> tuple[Finding, ...]:
        """What of the training's way of writing prompts is not followed."""
        if self.system and not any(map(self.template_of, prompts)):
            message = f"--system has no effect: no chat template writes the prompts of {model}"
            return (Finding(message, "remove --system", ("system",), WARNING, code="P345"),)
        for differs, what, fix, parameter in self._differences(prompts):
            if differs:
                message = f"{model} was trained on {what}: its answers can be others than it was trained for"
                return (Finding(message, fix, (parameter,), WARNING, code="P345"),)
        return ()

    def _differences(self, prompts: Sequence[Example]) -> Iterator[tuple[bool, str, str, str]]:
        """Whether prompts are written in another way, what the model was trained on and how it is asked, the fix and its parameter."""
        trained, given = self.trained, self.given
        if (
            trained is None
            or trained.rows == MIXED
            or self.writes_instructions
            or (self.template is None and given is None)
        ):
            return
        without_flag = "remove --chat-template"
        if trained.rows == TEXT:
            what = "plain text, without a chat template, and the prompts are rendered by one"
            texts = any(_turns_of(prompt) is None for prompt in prompts)
            fix = without_flag if given else "prompts that are text"
            yield self.template is not None and bool(given or not texts), what, fix, "chat_template"
            return
        what = "conversations that a chat template rendered, and the prompts are plain text"
        yield self.template is None, what, without_flag, "chat_template"
        if trained.system is None:
            what = "conversations with different system prompts, and these prompts have none"
            fix = "--system TEXT, or --prompts FILE with messages that begin with a system prompt"
            yield not (self.system or all(map(_has_system, prompts))), what, fix, "system"
        else:
            before = f"with the system prompt {trained.system!r}" if trained.system else "without a system prompt"
            what = f"conversations {before}, and --system gives another"
            yield self.system not in (None, trained.system), what, "remove --system", "system"


def _has_system(prompt: Example) -> bool:
    return (_turns_of(prompt) or [{}])[0].get("role") == "system"


def rendering_of(config: Config, tokenizer: Tokenizer, metadata: ModelMetadata) -> Rendering:
    """How a model is prompted. Raises Refused if `--chat-template` can't be used."""
    trained = trained_format(metadata)
    in_form = config.chat_template is None and trained is not None and trained.rows == TEXT
    name = trained.template if in_form and trained is not None else None
    observations = Observations()
    template = find_template(name or config.chat_template, tokenizer, observations)
    if observations.refused:
        raise Refused(observations.findings())
    return Rendering(template, config.chat_template, trained, config.system)


def encode_prompts(
    prompts: Sequence[Example], rendering: Rendering, tokenizer: Tokenizer, metadata: ModelMetadata
) -> list[list[int]]:
    """The ids of the prompts, written as the rows that the model was trained on; by the model's chat template if that is not known. Raises
    Refused for a prompt that the template refuses, or that leaves no room for an answer."""
    context_length = metadata.context_length
    if metadata.is_classifier:
        trained, given = rendering.trained, rendering.given
        is_set = given != NONE if given is not None else trained is not None and trained.rows == CHAT
        return scored.ids_within_context(
            prompts, tokenizer, rendering.template, template_given=is_set, context=context_length
        )
    ids = _ids(prompts, [_rendered(prompt, rendering) for prompt in prompts], rendering, tokenizer)
    for prompt, prompt_ids in zip(prompts, ids, strict=True):
        if context_length is not None and len(prompt_ids) >= context_length:
            where = f"{prompt.file}, row {prompt.row}" if prompt.file else "--prompts"
            message = f"{where}: {len(prompt_ids)} tokens leave no room for an answer in the model's context of {context_length}"
            raise refused_prompt(message, prompt.file or None, prompt.row, "a shorter prompt")
    return ids


def ids_of_prompt(prompt: Example, rendering: Rendering, tokenizer: Tokenizer) -> list[int]:
    """The ids of one prompt, of any length. Raises ChatTemplateError if the template refuses it."""
    return _ids([prompt], [rendering.text_of(prompt)], rendering, tokenizer)[0]


def _ids(
    prompts: Sequence[Example], texts: Sequence[str], rendering: Rendering, tokenizer: Tokenizer
) -> list[list[int]]:
    """The ids of rendered prompts; those that no template writes begin with the BOS token."""
    return [
        _with_bos(ids, tokenizer) if rendering.template_of(prompt) is None else ids
        for ids, prompt in zip(tokenizer.encode_batch(texts), prompts, strict=True)
    ]


def _with_bos(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The ids of a text with the tokenizer's BOS token, which is not repeated if the text already starts with it."""
    bos, _ = tokenizer.bos_eos
    return ids if ids[: len(bos)] == bos else [*bos, *ids]


def _text_of(prompt: Example) -> str:
    turns = _turns_of(prompt)
    return _plain_prompt(prompt) if turns is None else "\n".join(str(turn.get("content", "")) for turn in turns)


def _turns_of(prompt: Example) -> list[Any] | None:
    return (
        prompt.messages if prompt.messages is not None else prompt.prompt if isinstance(prompt.prompt, list) else None
    )


def _plain_prompt(prompt: Example) -> str:
    return str(prompt.prompt or prompt.text or "")


def _rendered(prompt: Example, rendering: Rendering) -> str:
    try:
        return rendering.text_of(prompt)
    except ChatTemplateError as problem:
        where = f"{prompt.file}, row {prompt.row}" if prompt.file else "--prompts"
        message = f"{where}: the chat template refuses it: {problem}"
        raise refused_prompt(
            message, prompt.file or None, prompt.row, "--chat-template chatml, or correct the prompt"
        ) from problem
