"""Two processes end with the weights of one: DDP on flat batches of their own, and context parallelism on halves of the same batch.

The file is also the program that the processes run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

from autotrain_llm.run.engine.flat.batch import flatten
from autotrain_llm.run.engine.flat.model import LOSS
from autotrain_llm.run.engine.layouts import Flat

pytestmark = pytest.mark.slow


STEPS = 3
LENGTHS = (5, 31, 12, 3)
SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
}


def new_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).double()


def rows(step: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(step)
    return [(random.integers(3, 61, one).astype(np.int32), random.random(one) < 0.6) for one in LENGTHS]


def train(rank: int, world: int, divides: int) -> dict[str, torch.Tensor]:
    """The weights after a few steps: on every `world`-th row, or on this process's tokens of all rows."""
    model = new_model()
    layout = Flat(model, divides=divides)
    called = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(STEPS):
        targets = len(flatten(rows(step))["target_labels"])
        own = rows(step) if divides > 1 else rows(step)[rank::world]
        loss = layout.forward(called, layout.collate(own), LOSS).loss * world / targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> Path:
    """The weights of two processes, trained in both ways."""
    from support.processes import run_together  # not on the path of the program

    folder = tmp_path_factory.mktemp("two")
    run_together([str(folder)], folder, program=(__file__,))
    return folder


@pytest.mark.parametrize("divides", [1, 2])
def test_two_processes_end_with_the_weights_of_one(of_two, divides):
    each, other = (torch.load(of_two / f"{divides}-{rank}.pt", weights_only=True) for rank in (0, 1))
    of_one, start = train(0, 1, 1), new_model().state_dict()
    for name, weight in of_one.items():
        assert each[name].equal(other[name]), name
        assert torch.allclose(each[name], weight, rtol=0, atol=1e-10), name
    assert not of_one["lm_head.weight"].equal(start["lm_head.weight"]), "nothing was trained"


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    this, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for way in (1, 2):
        torch.save(train(this, world, way), Path(sys.argv[1]) / f"{way}-{this}.pt")
    torch.distributed.destroy_process_group()
