"""Answers written by vLLM, in this process and on the GPU that trains."""

from __future__ import annotations

import os
import random
import re
import tempfile
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
from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.generation.types import Sample, Sampling

OF_ADAPTERS = (".lora_", ".original_module.", ".trainable_tokens_")


class Engine:
    """vLLM's offline engine beside the model that is trained, whose weights it is handed before each call.

    Written for the public interface that vLLM has had since 0.11: `LLM`, `LLM.apply_model`, `LLM.reset_prefix_cache`, `SamplingParams`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[int], sampling: Sampling) -> None:
        self.tokenizer, self.end_tokens, self.sampling = tokenizer, list(end_tokens), sampling
        self.llm: Any = None
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def sample(
        self, model: nn.Module, prompts: Sequence[np.ndarray], seeds: Sequence[int], per_prompt: int, greedy: bool
    ) -> list[Sample]:
        """As `Sampler.sample`; an answer follows from its seed as vLLM draws, not as the program's own sampling does."""
        from vllm import TokensPrompt

        if self.llm is None:
            self.llm = self._started(causal_model(model))
        weights = list(weights_of(model))
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

        self.folder = tempfile.TemporaryDirectory(prefix="autotrain-vllm-")
        causal.config.save_pretrained(self.folder.name)
        self.tokenizer.save_pretrained(self.folder.name)
        with _random_numbers_kept():  # it seeds those of the whole process, which the training draws from
            return LLM(
                model=self.folder.name,
                load_format="dummy",
                dtype="bfloat16",
                # Not the model's whole context, for one sequence of which its cache would have to have room.
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

    def _taken(self, prompt: np.ndarray, output: Any) -> Sample:
        ids = np.asarray(output.token_ids, dtype=np.int32)
        chosen = [at[int(token)].logprob for at, token in zip(output.logprobs, ids, strict=True)]
        finished = len(ids) > 0 and int(ids[-1]) in self.end_tokens
        return Sample(np.asarray(prompt, dtype=np.int32), ids, finished, np.asarray(chosen, dtype=np.float32))


def weights_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Copies in bf16 of the model's weights under the names that its files have, an adapter merged into them."""
    causal = causal_model(model)
    layers = {name: module for name, module in causal.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, weight in causal.state_dict().items():
        of_file = name_in_files(name)
        if of_file is not None:
            layer = layers.get(name.removesuffix(".base_layer.weight"))
            yield of_file, (weight if layer is None else _merged(layer)).detach().to(torch.bfloat16, copy=True)


def name_in_files(name: str) -> str | None:
    """What a weight of a model that carries an adapter is called in the model's files; None for what is no part of them."""
    if name.startswith(VALUE_HEAD) or any(part in name for part in OF_ADAPTERS):
        return None
    return re.sub(r"\.token_adapter|\.base_layer|\.modules_to_save\.[^.]+", "", name)


def _merged(layer: Any) -> torch.Tensor:
    """The weight of a layer with its adapter; afterwards the layer is what it was, which taking the adapter out again would not make it."""
    if hasattr(layer, "get_merged_weights"):
        return layer.get_merged_weights(layer.active_adapters)
    weight = layer.get_base_layer().weight
    kept = weight.detach().clone()
    layer.merge()
    try:
        return weight.detach().clone()
    finally:
        layer.unmerge()
        weight.data.copy_(kept)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """What draws random numbers within has no influence on what is drawn after it."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
