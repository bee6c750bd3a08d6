"""The model's predictions for evaluation rows, a window of batches at a time, so that memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import torch

from autotrain_llm.data.tokenize.eval_prompts import EvalPrompt
from autotrain_llm.run.generation.decoder import Decoder
from autotrain_llm.run.generation.types import Sample, Sampling

BATCHES_SORTED_TOGETHER = 16  # so that prompts of like length share a batch


@dataclass(frozen=True)
class Prediction:
    """The model's answer to an evaluation prompt: its text, its length in tokens, and whether it has an end token."""

    prompt: EvalPrompt
    text: str
    tokens: int
    finished: bool


class Predictor:
    """Completes evaluation prompts: greedily at temperature 0, else sampled with a seed for each row.

    `end_tokens` are the ids that end an answer; `end_text` is the text that ends one, for chat templates that end turns with plain text.
    """

    def __init__(
        self,
        tokenizer: Any,
        end_tokens: Sequence[int],
        end_text: str | None,
        *,
        batch: int,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        precision: torch.dtype,
    ) -> None:
        self.tokenizer, self.end_text, self.batch = tokenizer, end_text, batch
        self.temperature, self.seed = temperature, seed
        sampling = Sampling(max_new_tokens, temperature=temperature or 1.0, batch=batch)
        self.decoder = Decoder(end_tokens, sampling, precision)

    def predictions(self, model: Any, prompts: Iterable[EvalPrompt]) -> Iterator[list[Prediction]]:
        """The predictions in the order of the prompts, a window of some batches at a time."""
        remaining = iter(prompts)
        while window := list(islice(remaining, self.batch * BATCHES_SORTED_TOGETHER)):
            ids = [np.asarray(prompt.ids, dtype=np.int32) for prompt in window]
            # The seed depends on the row alone, so that neither batches nor processes change the sample.
            seeds = [self._seed_of(prompt) for prompt in window]
            samples = self.decoder.complete(model, ids, seeds if self.temperature > 0 else None)
            yield [self._prediction(prompt, sample) for prompt, sample in zip(window, samples, strict=True)]

    def _seed_of(self, prompt: EvalPrompt) -> int:
        row = f"{self.seed} {prompt.example.file} {prompt.example.row}"
        return int.from_bytes(blake2b(row.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")

    def _prediction(self, prompt: EvalPrompt, sample: Sample) -> Prediction:
        """The completion as text, up to the token or the text that ends an answer."""
        tokens = sample.completion[: len(sample.completion) - sample.finished]
        text = str(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True))
        if self.end_text and self.end_text in text:
            return Prediction(prompt, text.split(self.end_text)[0].strip(), len(tokens), True)
        return Prediction(prompt, text.strip(), len(tokens), sample.finished)
