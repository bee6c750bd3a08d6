"""Draw the next token of each sequence, with a random number that is the answer's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from autotrain_llm.run.rl.samples import Sampling


def numbers_of(seeds: Sequence[int], count: int) -> torch.Tensor:
    """For each seed, `count` numbers from [0, 1), the same whatever the other seeds: float64 (seeds, count)."""
    drawn = [np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(drawn))


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities (sequences, vocabulary) of softmax(logits / temperature), cut by top-k, then by top-p, and again of sum one.

    As transformers' warpers have it: top-k keeps every token that is as likely as the k-th, top-p the likeliest tokens of which all but
    the last together have less than the share.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logprobs = torch.log_softmax(wide / sampling.temperature, dim=-1)
    if 0 < sampling.top_k < logprobs.shape[-1]:
        lowest = logprobs.topk(sampling.top_k, dim=-1).values[:, -1:]
        logprobs = torch.log_softmax(logprobs.masked_fill(logprobs < lowest, -torch.inf), dim=-1)
    if sampling.top_p < 1:
        ordered, places = logprobs.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        out = torch.zeros_like(logprobs, dtype=torch.bool).scatter(1, places, before >= sampling.top_p)
        logprobs = torch.log_softmax(logprobs.masked_fill(out, -torch.inf), dim=-1)
    return logprobs


def draw(logprobs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The token at which the summed probabilities pass each sequence's number: (sequences,)."""
    summed = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    total = summed[:, -1]
    # Below the total, however it was rounded, so that a token that has no probability is never drawn.
    wanted = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(summed, wanted[:, None], right=True).squeeze(1)
