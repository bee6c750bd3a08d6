"""Answers as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.run.generation.types import Sample


def texts(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each answer adds to its prompt as text, special tokens left out."""
    whole = _decoded([np.concatenate([sample.prompt, sample.completion]) for sample in samples], tokenizer)
    heads = _decoded([sample.prompt for sample in samples], tokenizer)
    # Decoded by itself, an answer would lose the space that it begins with.
    return [
        text[len(head) :] if text.startswith(head) else _decoded([sample.completion], tokenizer)[0]
        for text, head, sample in zip(whole, heads, samples, strict=True)
    ]


def _decoded(rows: Sequence[np.ndarray], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    ids = [row.tolist() for row in rows]
    if not ids:
        return []
    return tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
