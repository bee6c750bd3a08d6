"""Evaluation rows as questions with the answer that the row holds: what a model is asked to write, and what that is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example, Message, Side, as_turns
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

FEWEST_TOKENS_OF_A_TEXT = 4


@dataclass(frozen=True)
class EvalPrompt:
    """A row's prompt as `text` and as `ids`, and the answer it holds. `rejected` is the worse answer of a pair."""

    example: Example
    text: str
    ids: list[int]
    reference: str
    rejected: str | None = None


class EvalPromptBuilder:
    """Asks each row as it was trained on: through the chat template where rows are rendered by one, else as plain text.

    A prompt longer than `max_prompt_tokens` keeps its end. A text has no prompt: its first half is the prompt, and as much of the rest as an answer of
    `max_answer_tokens` tokens can hold is the reference.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        asked: str | None,
        max_prompt_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        self.tokenizer, self.template = tokenizer, template
        self.asked = asked not in (None, NONE)
        self.max_prompt_tokens, self.max_answer_tokens = max_prompt_tokens, max_answer_tokens

    def has_answer(self, example: Example) -> bool:
        """Whether a row holds something to ask and an answer to it, as far as can be told without writing it."""
        return example.text is not None or self._parts(example) is not None

    def make(self, example: Example) -> EvalPrompt | None:
        """The question of a row; None for one without an answer: a bad answer, a conversation that ends in a question."""
        if example.text is not None:
            return self._continuation(example, example.text)
        parts = self._parts(example)
        if parts is None:
            return None
        prompt, answer = parts
        text, reference = self._written(example, prompt), _said(answer)
        if text is None or not reference.strip():
            return None
        ids = self._ids(text, plain=isinstance(prompt, str))
        rejected = _said(example.rejected) if example.rejected is not None else None
        return EvalPrompt(example, text, ids, reference, rejected) if ids else None

    def _parts(self, example: Example) -> tuple[Side, Side] | None:
        """What is asked and what is answered; turns where a template writes them."""
        answer = example.completion if example.completion is not None else example.chosen
        if example.messages is not None and (self.template is not None or answer is None):
            return _last_answer(example.messages)
        if answer is None or example.label is False:
            return None
        prompt: Side = example.prompt if example.prompt is not None else ""
        if self.asked or isinstance(prompt, list) or isinstance(answer, list):
            return _last_answer([*as_turns(prompt or [], "user"), *as_turns(answer, "assistant")])
        return prompt, answer

    def _written(self, example: Example, prompt: Side) -> str | None:
        if isinstance(prompt, str):
            return prompt
        if self.template is None:
            return None
        try:
            return self.template.render(prompt, example.tools, add_generation_prompt=True)
        except ChatTemplateError:  # the check has said so, and the row was left out there too
            return None

    def _ids(self, text: str, *, plain: bool) -> list[int]:
        ids = self.tokenizer.encode_batch([text])[0]
        opening = self.tokenizer.bos_eos[0] if plain else []
        ids = ids if ids[: len(opening)] == opening else [*opening, *ids]
        return ids[-self.max_prompt_tokens :]

    def _continuation(self, example: Example, text: str) -> EvalPrompt | None:
        ids = self.tokenizer.encode_batch([text])[0]
        if len(ids) < FEWEST_TOKENS_OF_A_TEXT:
            return None
        half = len(ids) // 2
        prompt = [*self.tokenizer.bos_eos[0], *ids[:half]][-self.max_prompt_tokens :]
        reference = self.tokenizer.decode(ids[half : half + self.max_answer_tokens], skip_special_tokens=True)
        return EvalPrompt(example, self.tokenizer.decode(ids[:half]), prompt, reference) if reference.strip() else None


def _last_answer(turns: Sequence[Message]) -> tuple[list[Message], list[Message]] | None:
    """The turns before the last answer, and that answer; None where nothing was asked."""
    last = next((at for at in reversed(range(len(turns))) if turns[at].get("role") == "assistant"), 0)
    return (list(turns[:last]), [turns[last]]) if last else None


def _said(side: Side) -> str:
    """The words of an answer."""
    if isinstance(side, str):
        return side
    return "\n".join(str(turn["content"]) for turn in side if isinstance(turn.get("content"), str))
