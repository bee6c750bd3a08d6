"""Answers written by vLLM, in this process and on the GPU that trains."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.run.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.rl.samples import Sample, Sampling

MEMORY_SHARE = 0.3  # of the GPU, for vLLM's copy of the weights and its cache


class Engine:
    """vLLM's offline engine beside the model that is trained, whose weights it is handed before each call.

    Written for the public interface of vLLM 0.11: `LLM`, `LLM.apply_model`, `LLM.reset_prefix_cache`, `SamplingParams`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[int], sampling: Sampling) -> None:
        self.tokenizer, self.end_tokens, self.sampling = tokenizer, list(end_tokens), sampling
        self.llm: Any = None

    def sample(
        self, model: nn.Module, prompts: Sequence[np.ndarray], seeds: Sequence[int], per_prompt: int, greedy: bool
    ) -> list[Sample]:
        """As `Sampler.sample`; an answer follows from its seed as vLLM draws, not as the program's own sampling does."""
        from vllm import TokensPrompt

        if self.llm is None:
            self.llm = self._started(causal_model(model))
        weights = list(_weights(model))
        self.llm.apply_model(lambda served: served.load_weights(iter(weights)) and None)
        self.llm.reset_prefix_cache()
        asked = [prompt for prompt in prompts for _ in range(per_prompt)]
        outputs = self.llm.generate(
            [TokensPrompt(prompt_token_ids=prompt.tolist()) for prompt in asked],
            [self._settings(seed, greedy) for seed in seeds],
            use_tqdm=False,
        )
        return [self._taken(prompt, output.outputs[0]) for prompt, output in zip(asked, outputs, strict=True)]

    def _started(self, causal: PreTrainedModel) -> Any:
        os.environ.setdefault(
            "VLLM_ENABLE_V1_MULTIPROCESSING", "0"
        )  # so that weights are handed over within this process
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        folder = tempfile.mkdtemp(prefix="autotrain-vllm-")
        causal.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return LLM(
            model=folder,
            load_format="dummy",
            dtype="bfloat16",
            gpu_memory_utilization=MEMORY_SHARE,
            logprobs_mode="processed_logprobs",
            seed=0,
        )

    def _settings(self, seed: int, greedy: bool) -> Any:
        from vllm import SamplingParams

        sampling = self.sampling
        return SamplingParams(
            max_tokens=sampling.max_new_tokens,
            temperature=0.0 if greedy else sampling.temperature,
            top_k=sampling.top_k or -1,
            top_p=sampling.top_p,
            seed=seed % 2**63,
            stop_token_ids=self.end_tokens,
            logprobs=0,
            detokenize=False,
        )

    def _taken(self, prompt: np.ndarray, output: Any) -> Sample:
        ids = np.asarray(output.token_ids, dtype=np.int32)
        chosen = [at[int(token)].logprob for at, token in zip(output.logprobs, ids, strict=True)]
        finished = len(ids) > 0 and int(ids[-1]) in self.end_tokens
        return Sample(np.asarray(prompt, dtype=np.int32), ids, finished, np.asarray(chosen, dtype=np.float32))


def _weights(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The model's weights under the names that its files have, an adapter merged into them."""
    causal = causal_model(model)
    adapted = next((module for module in model.modules() if isinstance(module, PeftModel)), None)
    if adapted is not None:
        adapted.merge_adapter()
    try:
        for name, weight in causal.state_dict().items():
            if ".lora_" not in name and not name.startswith(VALUE_HEAD):
                yield name.replace(".base_layer", ""), weight.detach().to(torch.bfloat16, copy=True)
    finally:
        if adapted is not None:
            adapted.unmerge_adapter()
