"""Draw the next token of each sequence with a random number that belongs to the sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from autotrain_llm.run.generation.types import Sampling

BLOCK = 64  # tokens of the vocabulary in a block of the two-level cumulative sum


def uniform_numbers(seeds: Sequence[int], count: int) -> torch.Tensor:
    """For each seed, `count` numbers from [0, 1), the same whatever the other seeds: float64 (seeds, count)."""
    drawn = [np.random.Generator(np.random.Philox(key=seed % 2**64)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(drawn))


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities (sequences, vocabulary) of softmax(logits / temperature), cut by top-k, then by top-p, and again of sum one.

    As transformers' warpers have it: top-k keeps every token that is as likely as the k-th, top-p the likeliest tokens of which all but
    the last together have less than the share.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logps = torch.log_softmax(wide / sampling.temperature, dim=-1)
    if 0 < sampling.top_k < logps.shape[-1]:
        lowest = logps.topk(sampling.top_k, dim=-1).values[:, -1:]
        logps = torch.log_softmax(logps.masked_fill(logps < lowest, -torch.inf), dim=-1)
    if sampling.top_p < 1:
        ordered, places = logps.sort(dim=-1, descending=True)
        before = ordered.exp().cumsum(dim=-1) - ordered.exp()
        out = torch.zeros_like(logps, dtype=torch.bool).scatter(1, places, before >= sampling.top_p)
        logps = torch.log_softmax(logps.masked_fill(out, -torch.inf), dim=-1)
    return logps


def sample_token(logps: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Inverse-transform sampling: the token at which the cumulative probability passes each sequence's number in [0, 1): (sequences,).

    Probabilities are summed in blocks of the vocabulary first, and token by token only within the block that is hit: a cumulative sum over
    the whole vocabulary would take longer than the softmax.
    """
    probabilities = functional.pad(logps.exp(), (0, -logps.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    of_parts = probabilities.sum(dim=-1, dtype=torch.float64)
    parts, left = _first_above(of_parts, numbers * of_parts.sum(dim=-1))
    within = probabilities[torch.arange(len(parts), device=parts.device), parts].double()
    return parts * BLOCK + _first_above(within, left)[0]


def _first_above(probabilities: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in each row the sum of its shares passes what is wanted, and how much of that is left there."""
    summed = probabilities.cumsum(dim=-1)
    total = summed[:, -1]
    # Below the total, however it was rounded, so that a token that has no probability is never drawn.
    wanted = torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))
    places = torch.searchsorted(summed, wanted[:, None], right=True)
    return places.squeeze(1), wanted - (summed - probabilities).gather(1, places).squeeze(1)
