"""What a model has read so far, kept so that a token costs one token: transformers' caches, with room ahead."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from autotrain_llm.data.order import ROOM_AHEAD


class RoomyLayer(DynamicLayer):
    """Keys and values (batch, heads, positions, size) as views of tensors with room for positions to come, so that a new one copies no old ones.

    Under autocast they are kept in its type, in which attention takes them: rotary embeddings leave keys in float32, and all of them would
    be rounded again for each token.
    """

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.rooms = tuple(states[:, :, :0].contiguous() for states in (key_states, value_states))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key_states, value_states = _as_attended(key_states), _as_attended(value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if after > self.rooms[0].shape[-2]:
            self.rooms = tuple(_with_room(room[:, :, :before], after + ROOM_AHEAD) for room in self.rooms)
        for room, states in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self.rooms)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these sequences, in this order."""
        length = self.get_seq_length()
        if length:
            self.rooms = tuple(room.index_select(0, beam_idx.to(room.device)) for room in self.rooms)
            self.keys, self.values = (room[:, :, :length] for room in self.rooms)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.reorder_cache(torch.arange(len(self.rooms[0])).repeat_interleave(repeats))


def new_cache(config: PretrainedConfig) -> Cache:
    """An empty cache for a model of this configuration; its plain layers have room ahead."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def keeps_padding_out(cache: Cache) -> bool:
    """Whether a mask hides padding from all of it: a recurrent state takes in whatever it reads."""
    return not any(cache.is_linear)


def select_sequences(cache: Cache, rows: Any) -> None:
    """Keep these sequences of all that the cache holds, in this order; a sequence may come more than once."""
    cache.reorder_cache(rows)


def _as_attended(states: torch.Tensor) -> torch.Tensor:
    device = states.device.type
    if states.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return states.to(torch.get_autocast_dtype(device))
    return states


def _with_room(held: torch.Tensor, positions: int) -> torch.Tensor:
    batch, heads, length, size = held.shape
    room = held.new_empty(batch, heads, positions, size)
    room[:, :, :length] = held
    return room
