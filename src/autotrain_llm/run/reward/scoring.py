"""Score texts and conversations with a finished reward model, each written as its training rows were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from autotrain_llm.data.chat import ChatTemplate, TemplateFault
from autotrain_llm.data.convert import as_turns
from autotrain_llm.data.example import Example, Message
from autotrain_llm.data.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Finding, Refused
from autotrain_llm.run.reward.layouts import PaddedScores

BATCH = 16


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
    rows = [ids_of(example, tokenizer, template, asked) for example in examples]
    for example, ids in zip(examples, rows, strict=True):
        if context is not None and len(ids) > context:
            message = f"{_place(example)}: {len(ids)} tokens are more than the model's context of {context}"
            raise _refused(message, example, "a shorter text")
    return rows


def ids_of(example: Example, tokenizer: Tokenizer, template: ChatTemplate | None, asked: bool) -> list[int]:
    turns = _turns(example, asked)
    if turns is None:
        return tokenizer.encode_batch([_text(example)], add_special_tokens=True)[0]
    if template is None:
        message = f"{_place(example)} holds turns, and the tokenizer of --model has no chat_template to write them with"
        raise _refused(message, example, "--chat-template, as it was given when the model was trained")
    try:
        text = template.render(turns, example.tools)
    except TemplateFault as problem:
        raise _refused(
            f"{_place(example)}: the chat template refuses it: {problem}", example, "mend the turns"
        ) from problem
    opening, closing = tokenizer.marks
    return [*opening, *tokenizer.encode_batch([text])[0], *closing]


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


@torch.inference_mode()
def scores(model: Any, rows: Sequence[list[int]], padding: int) -> Iterator[float]:
    """The score of each row, batch by batch. A model that knows no padding token gets one row at a time."""
    layout = PaddedScores(padding)
    size = BATCH if model.config.get_text_config().pad_token_id is not None else 1
    for start in range(0, len(rows), size):
        batch = layout.collate([(ids, [False] * len(ids)) for ids in rows[start : start + size]])
        batch = {
            name: held.to(model.device) if isinstance(held, torch.Tensor) else held for name, held in batch.items()
        }
        found = layout.forward(model, batch, layout.name).scores
        assert found is not None
        yield from found.tolist()
