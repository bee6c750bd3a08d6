"""Texts and conversations as a reward model reads them: each in the form of the rows it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example, Message, as_turns, texts_of
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding, Refused


def ids_within_context(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    *,
    template_given: bool,
    context: int | None,
) -> list[list[int]]:
    """The ids of each: a conversation rendered by the chat template, a text as the tokenizer writes it; with `template_given`, rendered too.

    Raises Refused for what can't be rendered, or is longer than the model's context.
    """
    rows = ids_of(examples, tokenizer, template, template_given)
    for example, ids in zip(examples, rows, strict=True):
        if context is not None and len(ids) > context:
            message = f"{_where(example)}: {len(ids)} tokens are more than the model's context of {context}"
            raise _refused(message, example, "a shorter text")
    return rows


def answered(example: Example, answer: str, template: ChatTemplate | None) -> Example:
    """A row's prompt with this answer; without a template, the turns of a prompt become lines of text."""
    prompt = example.prompt
    if isinstance(prompt, list) and template is None:
        prompt = "".join(f"{text}\n" for text in texts_of(prompt))
    return replace(example, text=None, messages=None, prompt=prompt, completion=answer, chosen=None, rejected=None)


def ids_of(
    examples: Sequence[Example], tokenizer: Tokenizer, template: ChatTemplate | None, template_given: bool
) -> list[list[int]]:
    """The ids of each. Raises Refused for what can't be rendered."""
    texts, rendered = texts_of_rows(examples, template, template_given)
    opening, closing = tokenizer.special_tokens
    rows: list[list[int]] = [[]] * len(texts)
    for by_template in (False, True):
        indices = [index for index, one in enumerate(rendered) if one is by_template]
        encoded = tokenizer.encode_batch([texts[index] for index in indices], add_special_tokens=not by_template)
        for index, ids in zip(indices, encoded, strict=True):
            rows[index] = [*opening, *ids, *closing] if by_template else ids
    return rows


def texts_of_rows(
    examples: Sequence[Example], template: ChatTemplate | None, template_given: bool
) -> tuple[list[str], list[bool]]:
    """Each as one text, and whether the chat template rendered it. Raises Refused for what can't be rendered."""
    texts, rendered = [], []
    for example in examples:
        turns = _turns(example, template_given)
        rendered.append(turns is not None)
        if turns is None:
            sides = (example.prompt, example.completion)
            texts.append(example.text or "".join(str(side) for side in sides if side is not None))
        else:
            texts.append(_rendered(example, turns, template))
    return texts, rendered


def _rendered(example: Example, turns: list[Message], template: ChatTemplate | None) -> str:
    if template is None:
        message = (
            f"{_where(example)} holds turns, and the tokenizer of --model has no chat_template to render them with"
        )
        raise _refused(message, example, "--chat-template, as it was given when the model was trained")
    try:
        return template.render(turns, example.tools)
    except ChatTemplateError as problem:
        message = f"{_where(example)}: the chat template refuses it: {problem}"
        raise _refused(message, example, "correct the turns") from problem


def _turns(example: Example, template_given: bool) -> list[Message] | None:
    """The conversation of a row; None for a text."""
    if example.messages is not None:
        return example.messages
    sides = [
        (side, role) for side, role in ((example.prompt, "user"), (example.completion, "assistant")) if side is not None
    ]
    if example.text is not None and template_given:
        sides = [(example.text, "user")]
    if template_given or any(isinstance(side, list) for side, _ in sides):
        return [turn for side, role in sides for turn in as_turns(side, role)]
    return None


def _where(example: Example) -> str:
    return f"{example.file}, row {example.row}" if example.file else "--prompts"


def _refused(message: str, example: Example, fix: str) -> Refused:
    return Refused([Finding(message, fix, ("prompts",), file=example.file or None, row=example.row, code="P330")])
