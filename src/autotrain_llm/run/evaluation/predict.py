"""What the model answers to evaluation rows, batch by batch: at no time are more than a few batches of texts held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import GenerationConfig

from autotrain_llm.data.tokenize.eval_prompts import EvalPrompt

BATCHES_SORTED_TOGETHER = 16  # so that prompts of like length share a batch


@dataclass(frozen=True)
class Answered:
    """A question, what the model said, how many tokens that took, and whether it ended by itself."""

    question: EvalPrompt
    text: str
    tokens: int
    finished: bool


class Writer:
    """Writes answers with `generate()`: prompts padded on the left, the likeliest token, or drawn at a temperature.

    `ends` are the ids that end an answer; `end_text` ends one where a chat template ends turns in plain text.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        end_text: str | None,
        *,
        batch: int,
        max_new_tokens: int,
        temperature: float,
    ) -> None:
        self.tokenizer, self.ends, self.end_text, self.batch = tokenizer, list(ends), end_text, batch
        self.padding = int(tokenizer.pad_token_id)
        self.settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            num_beams=1,
            use_cache=True,
            eos_token_id=self.ends or None,
            pad_token_id=self.padding,
            bos_token_id=tokenizer.bos_token_id,
        )

    def answers(self, model: Any, questions: Iterable[EvalPrompt]) -> Iterator[list[Answered]]:
        """The answers in the order of the questions, some batches at a time."""
        waiting = iter(questions)
        while window := list(islice(waiting, self.batch * BATCHES_SORTED_TOGETHER)):
            order = sorted(range(len(window)), key=lambda number: -len(window[number].ids))
            made: dict[int, Answered] = {}
            for start in range(0, len(order), self.batch):
                numbers = order[start : start + self.batch]
                made |= zip(numbers, self._batch(model, [window[number] for number in numbers]), strict=True)
            yield [made[number] for number in range(len(window))]

    @torch.inference_mode()
    def _batch(self, model: Any, questions: Sequence[EvalPrompt]) -> list[Answered]:
        width = max(len(question.ids) for question in questions)
        ids = torch.full((len(questions), width), self.padding, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, question in enumerate(questions):
            ids[row, width - len(question.ids) :] = torch.tensor(question.ids)
            mask[row, width - len(question.ids) :] = 1
        device = next(model.parameters()).device
        said = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=self.settings)
        return [
            self._read(question, tokens) for question, tokens in zip(questions, said[:, width:].tolist(), strict=True)
        ]

    def _read(self, question: EvalPrompt, tokens: list[int]) -> Answered:
        """Tokens up to the first that ends an answer, as text."""
        end = next((at for at, token in enumerate(tokens) if token in self.ends), None)
        kept = tokens[:end]
        text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
        if self.end_text and self.end_text in text:
            return Answered(question, text.split(self.end_text)[0].strip(), len(kept), True)
        return Answered(question, text.strip(), len(kept), end is not None)
