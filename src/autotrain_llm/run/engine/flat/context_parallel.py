"""Context parallelism: the processes of a group divide the tokens of one flat batch, so that each keeps the activations of its part only.

All layers but attention compute each token by itself. In attention each process exchanges its tokens of all heads for all tokens of its heads, and
back (DeepSpeed-Ulysses, Jacobs et al. 2023, arXiv:2309.14509), so the attention itself is that of one process.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import distributed
from torch.distributed.nn.functional import all_to_all_single
from torch.nn import functional

OF_TARGETS = (
    "target_labels",
    "target_segments",
    "target_answers",
)  # what a batch has for each target, besides its position


class ContextParallel:
    """Groups of `size` neighbouring processes, each of which shares its batches. They are made at the first use, in all processes at once."""

    def __init__(self, size: int) -> None:
        self.size = size

    @cached_property
    def group(self) -> distributed.ProcessGroup:
        own, _ = distributed.new_subgroups(group_size=self.size)
        return own

    @property
    def rank(self) -> int:
        """The place of this process in its group."""
        return distributed.get_rank() % self.size

    def own_part(self, batch: dict[str, Any]) -> dict[str, Any]:
        """This process's tokens of a flat batch, and the targets that they predict. `segments` stay those of the whole stream.

        The stream is filled up with a segment without targets to a length that `size` divides.
        """
        assert self.group is not None  # all processes make it here
        length, segments = batch["input_ids"].shape[1], batch["segments"]
        padding = -length % self.size
        if padding:
            lengths, continues = (*segments.lengths, padding), (*segments.continues, -1)
            segments = replace(segments, lengths=lengths, continues=continues, cache={})
        each = (length + padding) // self.size
        start = self.rank * each
        positions = torch.cat([batch["position_ids"], torch.arange(padding)[None]], dim=1)
        sources = batch["target_positions"]
        is_own = (start <= sources) & (sources < start + each)
        return {
            **batch,
            "input_ids": functional.pad(batch["input_ids"], (0, padding))[:, start : start + each],
            "position_ids": positions[:, start : start + each],
            "segments": replace(segments, divided=self, cache={}),
            "target_positions": sources[is_own] - start,
            **{name: batch[name][is_own] for name in OF_TARGETS},
            "tokens": max(0, min(length - start, each)),
            "padding_tokens_saved": batch["padding_tokens_saved"] if self.rank == 0 else 0,
        }

    def all_tokens(self, own: torch.Tensor) -> torch.Tensor:
        """All T tokens of this process's part of the heads, (1, heads / size, T, width), from its t tokens of all heads, (1, heads, t, width).

        Heads for keys and values that are too few for a part each are repeated.
        """
        own = own.repeat_interleave(math.lcm(own.shape[1], self.size) // own.shape[1], dim=1)
        heads, each, width = own.shape[1:]
        parts = own[0].reshape(self.size, heads // self.size, each, width)
        received = self._exchanged(parts)  # (process that has the tokens, heads / size, t, width)
        return received.transpose(0, 1).reshape(1, heads // self.size, self.size * each, width)

    def all_heads(self, own: torch.Tensor) -> torch.Tensor:
        """This process's tokens of all heads, (1, t, heads, width), from all tokens of its heads, (1, T, heads / size, width)."""
        length, heads, width = own.shape[1:]
        parts = own[0].reshape(self.size, length // self.size, heads, width)
        received = self._exchanged(parts)  # (process that has the heads, t, heads / size, width)
        return received.transpose(0, 1).reshape(1, length // self.size, self.size * heads, width)

    def _exchanged(self, parts: torch.Tensor) -> torch.Tensor:
        """Part i goes to process i of the group; gradients go back."""
        parts = parts.contiguous()
        return all_to_all_single(torch.empty_like(parts), parts, group=self.group)
