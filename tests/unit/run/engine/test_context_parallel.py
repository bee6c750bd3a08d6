"""The parts of a flat batch that processes divide among themselves. What they compute together is in test_flat_two_processes.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from autotrain_llm.run.engine.flat.context_parallel import ContextParallel
from autotrain_llm.run.engine.layouts import Flat


class Alone(ContextParallel):
    """One process of a group, without the others."""

    rank = 0  # type: ignore[assignment]
    group = object()  # type: ignore[assignment]

    def __init__(self, size: int, rank: int) -> None:
        super().__init__(size)
        self.rank = rank  # type: ignore[misc]


def batch() -> dict[str, Any]:
    rows = [(np.arange(10, 17), np.ones(7, dtype=bool)), (np.arange(30, 34), np.array([False, False, True, True]))]
    layout = Flat.__new__(Flat)  # without a model
    layout.context_parallel = None
    return layout.collate(rows)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_token_and_every_target_is_in_one_part(size):
    whole = batch()
    parts = [Alone(size, rank).own_part(whole) for rank in range(size)]
    ids = torch.cat([part["input_ids"] for part in parts], dim=1)
    assert ids[0, :11].equal(whole["input_ids"][0]) and ids.shape[1] % size == 0
    assert torch.cat([part["position_ids"] for part in parts], dim=1)[0, :11].equal(whole["position_ids"][0])
    each = ids.shape[1] // size
    sources = torch.cat([part["target_positions"] + rank * each for rank, part in enumerate(parts)])
    assert sources.equal(whole["target_positions"])
    for name in ("target_labels", "target_segments", "target_answers"):
        assert torch.cat([part[name] for part in parts]).equal(whole[name]), name
    assert all(sum(part["segments"].lengths) == ids.shape[1] for part in parts)
    for name in ("tokens", "padding_tokens_saved"):
        assert sum(part[name] for part in parts) == whole[name], name


def test_a_part_may_be_only_what_the_stream_is_filled_up_with():
    part = Alone(10, 9).own_part(batch())  # 11 tokens in ten parts of two
    assert part["tokens"] == 0 and part["input_ids"].shape == (1, 2) and not part["target_labels"].numel()
