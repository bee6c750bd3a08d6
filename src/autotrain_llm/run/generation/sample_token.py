"""Draw the next token of each sequence, with a random number that is the answer's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from autotrain_llm.run.generation.types import Sampling

PART = 64  # tokens of the vocabulary that are summed together at first


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


def sample_token(logprobs: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The token at which the summed probabilities pass each sequence's number: (sequences,).

    They are summed by parts of the vocabulary, and then within the part in which it happens: to sum all of them one by one would take
    longer than to make them.
    """
    shares = functional.pad(logprobs.exp(), (0, -logprobs.shape[-1] % PART)).unflatten(-1, (-1, PART))
    of_parts = shares.sum(dim=-1, dtype=torch.float64)
    parts, left = _passed(of_parts, numbers * of_parts.sum(dim=-1))
    within = shares[torch.arange(len(parts), device=parts.device), parts].double()
    return parts * PART + _passed(within, left)[0]


def _passed(shares: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in each row the sum of its shares passes what is wanted, and how much of that is left there."""
    summed = shares.cumsum(dim=-1)
    total = summed[:, -1]
    # Below the total, however it was rounded, so that a token that has no probability is never drawn.
    wanted = torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))
    places = torch.searchsorted(summed, wanted[:, None], right=True)
    return places.squeeze(1), wanted - (summed - shares).gather(1, places).squeeze(1)
