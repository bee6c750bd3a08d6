"""The states of a checkpoint are kept without pickle, bit by bit; those of earlier versions are read too."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from autotrain_llm.run.engine.state_file import load_state, save_state


def kept(tmp_path: Path, state: Any) -> Any:
    path = tmp_path / "state.safetensors"
    save_state(path, state)
    assert b"pickle" not in path.read_bytes() and path.read_bytes()[8:9] == b"{"
    return load_state(path)


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad", "RMSprop"])
def test_an_optimizer_with_its_schedule_goes_on_as_if_it_had_not_been_saved(name, tmp_path):
    def made() -> tuple[torch.nn.Linear, torch.optim.Optimizer, Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3)
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1 + 0.2)
        return model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 3))

    def step(model: torch.nn.Linear, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        schedule.step()

    model, optimizer, schedule = made()
    step(model, optimizer, schedule)
    state = kept(tmp_path, {"model": model.state_dict(), "o": optimizer.state_dict(), "s": schedule.state_dict()})
    again = made()
    for part, values in zip(again, state.values(), strict=True):
        part.load_state_dict(values)
    for _ in range(3):
        step(model, optimizer, schedule)
        step(*again)
    assert torch.equal(model.weight, again[0].weight)
    assert again[2].state_dict() == schedule.state_dict()


def test_random_numbers_go_on_where_they_were(tmp_path):
    state = kept(tmp_path, [random.getstate(), numpy.random.get_state(), torch.get_rng_state()])
    drawn = random.random(), numpy.random.rand(), torch.rand(3)
    random.setstate(state[0])
    numpy.random.set_state(state[1])
    torch.set_rng_state(state[2])
    again = random.random(), numpy.random.rand(), torch.rand(3)
    assert drawn[:2] == again[:2] and torch.equal(drawn[2], again[2])


def test_every_plain_value_comes_back_with_its_type(tmp_path):
    shared = torch.arange(6).reshape(2, 3).T
    state = {0: (1, 2.5, -0.0), "a": [None, True, "x"], 1: shared, 2: shared, "few": {}, "none": torch.tensor(3.0)}
    back = kept(tmp_path, {**state, "inf": math.inf, "nan": math.nan, "exact": 0.1 + 0.2})
    assert back[0] == (1, 2.5, 0.0) and math.copysign(1, back[0][2]) == -1
    assert back["a"] == [None, True, "x"] and back["a"][1] is True and back["few"] == {}
    assert torch.equal(back[1], shared) and back[2] is back[1]
    assert back["none"].shape == () and back["exact"] == 0.1 + 0.2
    assert back["inf"] == math.inf and math.isnan(back["nan"])


def test_an_object_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(TypeError, match="object is no plain value"):
        save_state(tmp_path / "state.safetensors", {"f": object()})
    assert not list(tmp_path.iterdir())
