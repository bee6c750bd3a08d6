"""Sample answers with vLLM, in this process and on the GPU that trains."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from autotrain_llm.data.order import VLLM_SHARE
from autotrain_llm.declare.temporary import TemporaryFolder
from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.generation.types import Sample, Sampling

ADAPTER_PARTS = (".lora_", ".original_module.", ".trainable_tokens_")


class Engine:
    """vLLM's offline engine, which gets the trained model's weights before each call.

    Uses the public interface of vLLM since 0.11: `LLM`, `LLM.apply_model`, `LLM.reset_prefix_cache`, `SamplingParams`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[int], sampling: Sampling) -> None:
        self.tokenizer, self.end_tokens, self.sampling = tokenizer, list(end_tokens), sampling
        self.llm: Any = None
        self.folder: TemporaryFolder | None = None

    def sample(
        self, model: nn.Module, prompts: Sequence[np.ndarray], seeds: Sequence[int], per_prompt: int, greedy: bool
    ) -> list[Sample]:
        """As `Sampler.sample`, but with vLLM's random numbers: the same seed gives another answer than the native decoder."""
        from vllm import TokensPrompt

        if self.llm is None:
            self.llm = self._start(causal_model(model))
        weights = list(weights_of(model))
        self.llm.apply_model(lambda served: served.load_weights(iter(weights)) and None)
        self.llm.reset_prefix_cache()
        repeated = [prompt for prompt in prompts for _ in range(per_prompt)]
        outputs = self.llm.generate(
            [TokensPrompt(prompt_token_ids=prompt.tolist()) for prompt in repeated],
            [self._settings(seed, greedy) for seed in seeds],
            use_tqdm=False,
        )
        return [self._sample_of(prompt, output.outputs[0]) for prompt, output in zip(repeated, outputs, strict=True)]

    def _start(self, causal: PreTrainedModel) -> Any:
        # In this process, so that weights need not be sent to another.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        self.folder = TemporaryFolder("vllm")
        causal.config.save_pretrained(str(self.folder.path))
        self.tokenizer.save_pretrained(str(self.folder.path))
        with _random_state_preserved():  # vLLM seeds the process's generators, which training uses too
            return LLM(
                model=str(self.folder.path),
                load_format="dummy",
                dtype="bfloat16",
                # Not the model's full context: the cache would need room for a sequence of that length.
                max_model_len=self.sampling.longest,
                gpu_memory_utilization=VLLM_SHARE,
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

    def _sample_of(self, prompt: np.ndarray, output: Any) -> Sample:
        ids = np.asarray(output.token_ids, dtype=np.int32)
        logprobs = [position[int(token)].logprob for position, token in zip(output.logprobs, ids, strict=True)]
        finished = len(ids) > 0 and int(ids[-1]) in self.end_tokens
        return Sample(np.asarray(prompt, dtype=np.int32), ids, finished, np.asarray(logprobs, dtype=np.float32))


def weights_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """bf16 copies of the model's weights under their names in the model's files, with an adapter merged into them."""
    causal = causal_model(model)
    layers = {name: module for name, module in causal.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, weight in causal.state_dict().items():
        file_name = name_in_files(name)
        if file_name is not None:
            layer = layers.get(name.removesuffix(".base_layer.weight"))
            yield file_name, (weight if layer is None else _merged(layer)).detach().to(torch.bfloat16, copy=True)


def name_in_files(name: str) -> str | None:
    """The name in the model's files of a weight of a model with an adapter; None for weights that are not in them."""
    if name.startswith(VALUE_HEAD) or any(part in name for part in ADAPTER_PARTS):
        return None
    return re.sub(r"\.token_adapter|\.base_layer|\.modules_to_save\.[^.]+", "", name)


def _merged(layer: Any) -> torch.Tensor:
    """The merged weight of a layer and its adapter. The original weight is restored from a copy: unmerging would leave rounding errors."""
    if hasattr(layer, "get_merged_weights"):
        return layer.get_merged_weights(layer.active_adapters)
    weight = layer.get_base_layer().weight
    original = weight.detach().clone()
    layer.merge()
    try:
        return weight.detach().clone()
    finally:
        layer.unmerge()
        weight.data.copy_(original)


@contextmanager
def _random_state_preserved() -> Iterator[None]:
    """Restore the random state of Python, NumPy and torch afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
