"""Sample completions from a model in training, with the decoder or vLLM; the model is switched to generation first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.reference_model import evaluating
from autotrain_llm.run.generation.decoder import Decoder
from autotrain_llm.run.generation.types import VLLM, Sample, Sampling


class Sampler:
    """Samples completions of a model, each with random numbers of its own.

    tokenizer: decodes completions. end_tokens: ids that end a completion. precision: the dtype of the training's matrix products.
    """

    def __init__(
        self,
        layout: BatchLayout,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: Sequence[int],
        sampling: Sampling,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.layout, self.tokenizer, self.sampling = layout, tokenizer, sampling
        self.decoder = Decoder(end_tokens, sampling, precision)
        self.engine: Any = None

    def sample(
        self,
        model: nn.Module,
        prompts: Sequence[np.ndarray],
        seeds: Sequence[int],
        per_prompt: int = 1,
        greedy: bool = False,
    ) -> list[Sample]:
        """`per_prompt` completions of each prompt (int32 ids), in the order of the prompts; `seeds` has one for each completion."""
        if self.sampling.backend == VLLM:
            return self._vllm().sample(model, prompts, seeds, per_prompt, greedy)
        causal = causal_model(model)
        self.layout.for_generation(model, True)
        with evaluating(model):
            return self.decoder.complete(causal, prompts, None if greedy else seeds, per_prompt)

    def _vllm(self) -> Any:
        if self.engine is None:
            from autotrain_llm.run.generation.vllm_engine import Engine

            self.engine = Engine(self.tokenizer, self.decoder.end_tokens, self.sampling)
        return self.engine
