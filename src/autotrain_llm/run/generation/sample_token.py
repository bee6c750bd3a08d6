"""Sample the next token of each sequence with a random number of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from autotrain_llm.run.generation.types import Sampling

BLOCK = 64  # tokens of the vocabulary in a block of the two-level cumulative sum


def uniform_numbers(seeds: Sequence[int], count: int) -> torch.Tensor:
    """For each seed, `count` random numbers in [0, 1), independent of the other seeds: float64 (seeds, count)."""
    numbers = [np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(numbers))


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities (sequences, vocabulary) of softmax(logits / temperature), filtered by top-k, then by top-p, and renormalised.

    As in transformers' warpers: top-k keeps every token at least as likely as the k-th, top-p the smallest set of likeliest tokens whose
    probability reaches `top_p`.
    """
    precise = logits if logits.dtype == torch.float64 else logits.float()
    logps = torch.log_softmax(precise / sampling.temperature, dim=-1)
    if 0 < sampling.top_k < logps.shape[-1]:
        lowest = logps.topk(sampling.top_k, dim=-1).values[:, -1:]
        logps = torch.log_softmax(logps.masked_fill(logps < lowest, -torch.inf), dim=-1)
    if sampling.top_p < 1:
        ordered, tokens = logps.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        removed = torch.zeros_like(logps, dtype=torch.bool).scatter(1, tokens, before >= sampling.top_p)
        logps = torch.log_softmax(logps.masked_fill(removed, -torch.inf), dim=-1)
    return logps


def sample_token(logps: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Inverse-transform sampling: the token at which the cumulative probability passes each sequence's number in [0, 1): (sequences,).

    Probabilities are summed per block of the vocabulary first, and per token only within the block found: a cumulative sum over the full
    vocabulary would take longer than the softmax.
    """
    probabilities = functional.pad(logps.exp(), (0, -logps.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    block_sums = probabilities.sum(dim=-1, dtype=torch.float64)
    blocks, remainder = _first_above(block_sums, numbers * block_sums.sum(dim=-1))
    within = probabilities[torch.arange(len(blocks), device=blocks.device), blocks].double()
    return blocks * BLOCK + _first_above(within, remainder)[0]


def _first_above(probabilities: torch.Tensor, threshold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """In each row, the first index whose cumulative sum exceeds the threshold, and the threshold minus the sum before that index."""
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[:, -1]
    # Clamped below the rounded total, so that a token with zero probability is never sampled.
    threshold = torch.minimum(threshold, torch.nextafter(total, torch.zeros_like(total)))
    indices = torch.searchsorted(cumulative, threshold[:, None], right=True)
    return indices.squeeze(1), threshold - (cumulative - probabilities).gather(1, indices).squeeze(1)
