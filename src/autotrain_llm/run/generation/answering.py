"""A finished model that answers prompts, for `--inference` and `autotrain chat`: loaded once, it decodes as its own files and the flags say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.run.engine.loading import DTYPES
from autotrain_llm.run.generation.decoder import Decoder
from autotrain_llm.run.generation.types import Sample, Sampling

BATCH = 16


class AnsweringModel:
    """A causal model with the settings by which it answers: greedily, or with a temperature and a seed for each prompt."""

    def __init__(self, causal: Any, config: Config, context_length: int | None) -> None:
        self.causal, self.seeds = causal, PromptSeeds(config.seed) if config.temperature else None
        self.sampling = Sampling(
            config.max_new_tokens,
            config.temperature or 1.0,
            config.top_k,
            config.top_p,
            batch=BATCH,
            longest=context_length,
        )
        ends = causal.generation_config.eos_token_id
        self.end_tokens = [ends] if isinstance(ends, int) else list(ends or ())

    def answer(
        self, prompts: Sequence[Sequence[int]], on_tokens: Callable[[list[int]], None] | None = None
    ) -> list[Sample]:
        """The completion of each prompt (ids). `on_tokens` is called with the tokens of each step, of those that are not finished."""
        rows = [np.asarray(prompt, dtype=np.int32) for prompt in prompts]
        seeds = None if self.seeds is None else [self.seeds.next(row) for row in rows]
        decoder = Decoder(self.end_tokens, self.sampling, processors=self._processors(), on_tokens=on_tokens)
        return decoder.complete(self.causal, rows, seeds)

    def _processors(self) -> LogitsProcessorList | None:
        """What of the model's generation config changes logits before a token is chosen."""
        settings, processors = self.causal.generation_config, LogitsProcessorList()
        if settings.repetition_penalty not in (None, 1.0):
            processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        if settings.no_repeat_ngram_size:
            processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
        return processors or None


class PromptSeeds:
    """The seeds of sampled answers. Each follows from `seed`, the prompt's ids and how often this prompt was asked before: other prompts change
    nothing, and a prompt that is repeated gets another answer."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._counts: Counter[bytes] = Counter()

    def next(self, prompt: np.ndarray) -> int:
        key = prompt.tobytes()
        number = self._counts[key]
        self._counts[key] += 1
        text = b"".join(value.to_bytes(8, "little") for value in (self.seed, number)) + key
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def device_and_dtype(config: Config, context: RunContext) -> tuple[torch.device, torch.dtype]:
    """Where a model answers, and in which dtype: `--mixed-precision`, else bf16 on a GPU that computes in it, else float32."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usual = "bf16" if device.type == "cuda" and context.machine.computes_bf16 else "fp32"
    return device, DTYPES[config.mixed_precision or usual]


def loading_options(config: Config, token: str | None) -> dict[str, Any]:
    """The keyword arguments of from_pretrained that the flags give."""
    options = {
        "revision": config.revision,
        "cache_dir": config.cache_dir,
        "trust_remote_code": config.trust_remote_code,
        "attn_implementation": config.attn_implementation,
        "token": token,
    }
    return {name: value for name, value in options.items() if value is not None} | {"local_files_only": config.offline}
