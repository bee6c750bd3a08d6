"""The settings of sampling, and the completions it returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NATIVE, VLLM = "native", "vllm"


@dataclass(frozen=True)
class Sample:
    """One completion.

    prompt: int32 (p,), the ids it answers. completion: int32 (c,), with the end token where it is finished. finished: whether it ended
    by itself, with an end token. logprobs: float32 (c,), each token's log-probability under the distribution that it was drawn from: that of the logits
    divided by the temperature, and where top-k or top-p cut it, of what they left.
    """

    prompt: np.ndarray
    completion: np.ndarray
    finished: bool
    logprobs: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `top_k` 0 and `top_p` 1 switch their filter off; `batch` is the number of sequences decoded at once, `longest`
    the most tokens that a prompt and its completion have together (None: no limit)."""

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    backend: str = NATIVE
    batch: int = 64
    longest: int | None = None
