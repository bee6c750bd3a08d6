"""Texts and conversations as a reward model reads them: each written as the rows it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotrain_llm.data.chat.template import ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example, Message, as_turns, texts_of
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding, Refused


def written(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    *,
    asked: bool,
    context: int | None,
) -> list[list[int]]:
    """The ids of each: a conversation by the chat template, a text as the tokenizer writes it; with `asked`, by the template too.

    Raises Refused for what can't be written, or is longer than the model's context.
    """
    rows = ids_of(examples, tokenizer, template, asked)
    for example, ids in zip(examples, rows, strict=True):
        if context is not None and len(ids) > context:
            message = f"{_place(example)}: {len(ids)} tokens are more than the model's context of {context}"
            raise _refused(message, example, "a shorter text")
    return rows


def answered(example: Example, answer: str, template: ChatTemplate | None) -> Example:
    """A row's prompt with this answer; the turns of a prompt that no template can write are lines of text."""
    prompt = example.prompt
    if isinstance(prompt, list) and template is None:
        prompt = "".join(f"{text}\n" for text in texts_of(prompt))
    return replace(example, text=None, messages=None, prompt=prompt, completion=answer, chosen=None, rejected=None)


def ids_of(
    examples: Sequence[Example], tokenizer: Tokenizer, template: ChatTemplate | None, asked: bool
) -> list[list[int]]:
    """The ids of each. Raises Refused for what can't be written."""
    texts, rendered = texts_of_rows(examples, template, asked)
    opening, closing = tokenizer.special_tokens
    rows: list[list[int]] = [[]] * len(texts)
    for kind in (False, True):
        places = [place for place, by_template in enumerate(rendered) if by_template is kind]
        found = tokenizer.encode_batch([texts[place] for place in places], add_special_tokens=not kind)
        for place, ids in zip(places, found, strict=True):
            rows[place] = [*opening, *ids, *closing] if kind else ids
    return rows


def texts_of_rows(
    examples: Sequence[Example], template: ChatTemplate | None, asked: bool
) -> tuple[list[str], list[bool]]:
    """Each as one text, and whether the chat template wrote it. Raises Refused for what can't be written."""
    turns = [_turns(example, asked) for example in examples]
    texts = [
        _text(example) if held is None else _rendered(example, held, template)
        for example, held in zip(examples, turns, strict=True)
    ]
    return texts, [held is not None for held in turns]


def _rendered(example: Example, turns: list[Message], template: ChatTemplate | None) -> str:
    if template is None:
        message = f"{_place(example)} holds turns, and the tokenizer of --model has no chat_template to write them with"
        raise _refused(message, example, "--chat-template, as it was given when the model was trained")
    try:
        return template.render(turns, example.tools)
    except ChatTemplateError as problem:
        raise _refused(
            f"{_place(example)}: the chat template refuses it: {problem}", example, "mend the turns"
        ) from problem


def _turns(example: Example, asked: bool) -> list[Message] | None:
    """The conversation of a row; None for a text."""
    if example.messages is not None:
        return example.messages
    sides = [(example.prompt, "user"), (example.completion, "assistant")]
    held = [(side, role) for side, role in sides if side is not None]
    if example.text is not None and asked:
        held = [(example.text, "user")]
    if asked or any(isinstance(side, list) for side, _ in held):
        return [turn for side, role in held for turn in as_turns(side, role)]
    return None


def _text(example: Example) -> str:
    return example.text or "".join(str(side) for side in (example.prompt, example.completion) if side is not None)


def _place(example: Example) -> str:
    return f"{example.file}, row {example.row}" if example.file else "--prompts"


def _refused(message: str, example: Example, fix: str) -> Refused:
    return Refused([Finding(message, fix, ("prompts",), file=example.file or None, row=example.row, code="P330")])
