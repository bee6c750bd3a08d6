"""Decode sampled answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.run.generation.types import Sample


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
