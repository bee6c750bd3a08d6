"""Checkpoints in parts, written and read by one process; several do so in tests/integration/test_sharded_training.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM

from autotrain_llm.declare.parts import SHARDED_MODEL, has_parts
from autotrain_llm.models.weights import read_weights
from autotrain_llm.run.engine.sharded_states import load_model, load_optimizer, save_model, save_optimizer
from autotrain_llm.run.engine.state_file import save_state
from support.architecture_configs import DECODERS, small_config


class Tied(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.middle, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("scale", torch.tensor(float(seed)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.embedding(ids))) * self.scale


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The weights after one more step."""
    optimizer.zero_grad()
    model(torch.arange(7)).square().sum().backward()
    optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_weights_and_states_are_the_same_after_they_were_written_and_read(tmp_path: Path) -> None:
    one, other = Tied(1), Tied(2)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in (one, other)]
    stepped(one, optimizers[0])
    save_model(one, tmp_path)
    save_optimizer(optimizers[0], one, tmp_path, is_first=True)
    assert has_parts(tmp_path)
    load_model(other, tmp_path)
    load_optimizer(optimizers[1], other, tmp_path)
    assert other.head.weight is other.embedding.weight and other.scale == 1
    expected, found = stepped(one, optimizers[0]), stepped(other, optimizers[1])
    assert all(map(torch.equal, expected, found))


def test_states_that_were_written_whole_are_read_too(tmp_path: Path) -> None:
    one, other = Tied(1), Tied(1)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1) for model in (one, other)]
    stepped(one, optimizers[0])
    other.load_state_dict(one.state_dict())
    save_state(tmp_path / "optimizer.safetensors", optimizers[0].state_dict())
    load_optimizer(optimizers[1], other, tmp_path)
    expected, found = stepped(one, optimizers[0]), stepped(other, optimizers[1])
    assert all(map(torch.equal, expected, found))


def test_the_shapes_of_a_model_in_parts_are_those_of_whole_tensors(tmp_path: Path) -> None:
    folder = tmp_path / SHARDED_MODEL
    folder.mkdir(parents=True)
    for number, (start, rows) in enumerate([(0, 3), (3, 2)], 1):
        named = {"weight": torch.zeros(rows, 4)} | ({"bias": torch.zeros(6)} if number == 1 else {})
        offsets = json.dumps({"weight": {"saved_offsets": [start, 0]}, "bias": {"saved_offsets": [0]}})
        save_file(named, folder / f"shard-0000{number}.safetensors", metadata={"DCP_SHARDING_INFO": offsets})
    weights = read_weights(tmp_path)
    assert {name: tensor.shape for name, tensor in weights.tensors.items()} == {"weight": (5, 4), "bias": (6,)}
    assert not weights.missing and not weights.damaged


@pytest.mark.parametrize("model_type", DECODERS)
def test_whole_weights_come_back_where_the_files_have_other_names_than_the_model(
    model_type: str, tmp_path: Path
) -> None:
    """transformers writes the experts of a mixture one by one, and computes with all of them in one tensor."""
    one, other = (AutoModelForCausalLM.from_config(small_config(model_type)) for _ in range(2))
    one.save_pretrained(tmp_path)
    load_model(other, tmp_path)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())
