"""The settings of sampling, and the completions it returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NATIVE, VLLM = "native", "vllm"


@dataclass(frozen=True)
class Sample:
    """One completion.

    prompt: int32 (p,), the ids it answers. completion: int32 (c,), including the end token. finished: whether
    it has an end token. logprobs: float32 (c,), each token's log-probability under the distribution it was sampled from: after the
    temperature, top-k and top-p.
    """

    prompt: np.ndarray
    completion: np.ndarray
    finished: bool
    logprobs: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled. `top_k` 0 and `top_p` 1 switch their filter off; `batch` is the number of sequences decoded at once, `longest`
    the maximal number of tokens of a prompt with its completion (None: no limit)."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    backend: str = NATIVE
    batch: int = 64
    longest: int | None = None
