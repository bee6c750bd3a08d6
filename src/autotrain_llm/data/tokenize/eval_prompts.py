"""Evaluation rows as prompts with a reference answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from autotrain_llm.data.chat.template import NONE, ChatTemplate, ChatTemplateError
from autotrain_llm.data.example import Example, Message, Side, as_turns, texts_of
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer

FEWEST_TOKENS_OF_A_TEXT = 4


@dataclass(frozen=True)
class EvalPrompt:
    """A row's prompt as `text` and as `ids`, and the answer in the row. `rejected` is the worse answer of a pair."""

    example: Example
    text: str
    ids: list[int]
    reference: str
    rejected: str | None = None


class EvalPromptBuilder:
    """Builds each row's prompt as it was trained on: with the chat template where rows are rendered by one, else as plain text.

    A prompt longer than `max_prompt_tokens` keeps its end. A text has no prompt: its first half is the prompt, and the next
    `max_answer_tokens` tokens are the reference.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        chat_template: str | None,
        max_prompt_tokens: int,
        max_answer_tokens: int,
    ) -> None:
        """`chat_template` is the value of `--chat-template`: with a name or file, texts are rendered too."""
        self.tokenizer, self.template = tokenizer, template
        self.template_given = chat_template not in (None, NONE)
        self.max_prompt_tokens, self.max_answer_tokens = max_prompt_tokens, max_answer_tokens

    def has_answer(self, example: Example) -> bool:
        """Whether a row has a prompt and an answer, as far as this is known without rendering it."""
        if example.input_ids is not None:
            return _end_of_prompt(example) > 0
        return example.text is not None or self._prompt_and_answer(example) is not None

    def make(self, example: Example) -> EvalPrompt | None:
        """The prompt of a row; None if it has no answer to compare with: a bad answer, or a conversation that ends with the user."""
        if example.text is not None:
            return self._continuation(example, example.text)
        if example.input_ids is not None:
            return self._of_tokens(example, example.input_ids)
        parts = self._prompt_and_answer(example)
        if parts is None:
            return None
        prompt, answer = parts
        text = self._rendered(example, prompt)
        reference = "\n".join(texts_of(answer))
        if text is None or not reference.strip():
            return None
        ids = self.tokenizer.encode_batch([text])[0]
        opening = self.tokenizer.bos_eos[0] if isinstance(prompt, str) else []
        if ids[: len(opening)] != opening:
            ids = [*opening, *ids]
        if not ids:
            return None
        rejected = None if example.rejected is None else "\n".join(texts_of(example.rejected))
        return EvalPrompt(example, text, ids[-self.max_prompt_tokens :], reference, rejected)

    def _prompt_and_answer(self, example: Example) -> tuple[Side, Side] | None:
        """Both as text, or as turns where a template renders them."""
        answer = example.completion if example.completion is not None else example.chosen
        if example.messages is not None and (self.template is not None or answer is None):
            return _last_answer(example.messages)
        if answer is None or example.label is False:
            return None
        prompt: Side = example.prompt if example.prompt is not None else ""
        if self.template_given or isinstance(prompt, list) or isinstance(answer, list):
            return _last_answer([*as_turns(prompt or [], "user"), *as_turns(answer, "assistant")])
        return prompt, answer

    def _rendered(self, example: Example, prompt: Side) -> str | None:
        if isinstance(prompt, str):
            return prompt
        if self.template is None:
            return None
        try:
            return self.template.render(prompt, example.tools, add_generation_prompt=True)
        except ChatTemplateError:  # a finding has reported it, and the row was left out of the prepared rows too
            return None

    def _continuation(self, example: Example, text: str) -> EvalPrompt | None:
        ids = self.tokenizer.encode_batch([text])[0]
        if len(ids) < FEWEST_TOKENS_OF_A_TEXT:
            return None
        half = len(ids) // 2
        prompt = [*self.tokenizer.bos_eos[0], *ids[:half]][-self.max_prompt_tokens :]
        reference = self.tokenizer.decode(ids[half : half + self.max_answer_tokens], skip_special_tokens=True)
        return EvalPrompt(example, self.tokenizer.decode(ids[:half]), prompt, reference) if reference.strip() else None

    def _of_tokens(self, example: Example, ids: list[int]) -> EvalPrompt | None:
        """The prompt of a row of tokens, and of what follows it the tokens that are trained on."""
        start, trained = _end_of_prompt(example), example.loss_mask
        answer = (
            ids[start : start + self.max_answer_tokens]
            if trained is None
            else list(compress(ids[start:], trained[start:]))
        )
        reference = self.tokenizer.decode(answer, skip_special_tokens=True)
        if not start or not reference.strip():
            return None
        return EvalPrompt(
            example, self.tokenizer.decode(ids[:start]), ids[:start][-self.max_prompt_tokens :], reference
        )


def _end_of_prompt(example: Example) -> int:
    """Where the prompt of a row of tokens ends: before the last run of tokens that are trained on, or in the middle of a row without labels."""
    ids, trained = example.input_ids or [], example.loss_mask
    if trained is None:
        return len(ids) // 2 if len(ids) >= FEWEST_TOKENS_OF_A_TEXT else 0
    starts = [at for at in range(1, len(ids)) if trained[at] and not trained[at - 1]]
    return starts[-1] if starts else 0


def _last_answer(turns: Sequence[Message]) -> tuple[list[Message], list[Message]] | None:
    """The turns before the last answer, and that answer; None if nothing comes before it."""
    last = next((at for at in reversed(range(len(turns))) if turns[at].get("role") == "assistant"), 0)
    return (list(turns[:last]), [turns[last]]) if last else None
