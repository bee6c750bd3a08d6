"""Decode sampled answers, whole or while they are sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.run.generation.types import Sample

INCOMPLETE = "\ufffd"  # what a decoder writes for the first bytes of a character


def texts(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each answer without special tokens: the decoded prompt and answer minus the decoded prompt."""
    full_texts = _decode([np.concatenate([sample.prompt, sample.completion]) for sample in samples], tokenizer)
    prompts = _decode([sample.prompt for sample in samples], tokenizer)
    # Decoded on its own, an answer would lose its leading space.
    return [
        text[len(prompt) :] if text.startswith(prompt) else _decode([sample.completion], tokenizer)[0]
        for text, prompt, sample in zip(full_texts, prompts, samples, strict=True)
    ]


def _decode(rows: Sequence[np.ndarray], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    ids = [row.tolist() for row in rows]
    if not ids:
        return []
    return tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class StreamedText:
    """The text of tokens as they come, without the spaces around it. `write` is called with each piece that can no longer change.

    An end token, and what a decoder samples after it, adds nothing but what the tokenizer writes for it.
    """

    def __init__(self, tokenizer: Tokenizer, end_tokens: Sequence[int], write: Callable[[str], None]) -> None:
        self.tokenizer, self.end_tokens, self.write = tokenizer, frozenset(end_tokens), write
        self.ids: list[int] = []
        self.written = ""

    def add(self, token: int) -> None:
        if self.ids and self.ids[-1] in self.end_tokens:
            return
        self.ids.append(token)
        text = self._text()
        if not text.endswith(INCOMPLETE):
            self._write(text)

    def finish(self) -> str:
        """Write what is left, and return the whole text."""
        text = self._text()
        self._write(text)
        return text

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True).strip()

    def _write(self, text: str) -> None:
        if text.startswith(self.written) and text != self.written:
            self.write(text[len(self.written) :])
            self.written = text
