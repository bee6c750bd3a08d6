"""The key-value cache: transformers' own, with preallocated buffers."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from autotrain_llm.data.order import CACHE_GROWTH


class PreallocatedLayer(DynamicLayer):
    """Keys and values (batch, heads, positions, size) as views of preallocated buffers, so that appending a position does not copy the earlier ones.

    Under autocast they are stored in its dtype: rotary embeddings return float32 keys, and attention would cast all of them again for each
    token.
    """

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.buffers = tuple(states[:, :, :0].contiguous() for states in (key_states, value_states))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key_states, value_states = _to_attention_dtype(key_states), _to_attention_dtype(value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if after > self.buffers[0].shape[-2]:
            self.buffers = tuple(_grow(buffer[:, :, :before], after + CACHE_GROWTH) for buffer in self.buffers)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = states
        self.keys, self.values = (buffer[:, :, :after] for buffer in self.buffers)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Select these sequences, in this order."""
        length = self.get_seq_length()
        if length:
            self.buffers = tuple(buffer.index_select(0, beam_idx.to(buffer.device)) for buffer in self.buffers)
            self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.reorder_cache(torch.arange(len(self.buffers[0])).repeat_interleave(repeats))


def new_cache(config: PretrainedConfig) -> Cache:
    """An empty cache for a model of this configuration; plain layers get preallocated buffers."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def masks_padding(cache: Cache) -> bool:
    """Whether the attention mask hides padding from every layer: a recurrent state also processes padding."""
    return not any(cache.is_linear)


def select_sequences(cache: Cache, rows: Any) -> None:
    """Select these rows of the cache, in this order; rows may be repeated."""
    cache.reorder_cache(rows)


def _to_attention_dtype(states: torch.Tensor) -> torch.Tensor:
    device = states.device.type
    if states.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return states.to(torch.get_autocast_dtype(device))
    return states


def _grow(states: torch.Tensor, positions: int) -> torch.Tensor:
    batch, heads, length, size = states.shape
    buffer = states.new_empty(batch, heads, positions, size)
    buffer[:, :, :length] = states
    return buffer
