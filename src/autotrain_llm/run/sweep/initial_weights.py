"""The weights that trials begin with, read once: each trial but the first gets a copy of the model as it was loaded."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy
import torch

from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.algorithms.recipe import make_recipe
from autotrain_llm.run.engine.loading import Loaded

SHARE_OF_MEMORY = 0.8  # of what is free, beyond which nothing is kept


class Weights:
    """Stands in for the loading of a recipe. Keeps one untouched model, with the random numbers that loading it left behind.

    A copy is bit for bit what loading it again would give, and so is what is trained from it. Nothing is kept of a quantised model, whose
    weights lie on the device, nor where memory is short; the model is loaded again then.
    """

    def __init__(self) -> None:
        self.key = ""
        self.kept: Loaded | None = None
        self.random: Any = None
        self.loaded = 0  # how often a model was really read

    def __call__(self, plan: Plan, inputs: RunInputs) -> Loaded:
        key = _key(plan, inputs)
        if self.kept is not None and key == self.key:
            _set_random_state(self.random)
            return copy.deepcopy(self.kept)
        self.kept = None  # before the next one is read, so that there are never three
        loaded = make_recipe(plan, inputs).load()
        self.loaded += 1
        if _fits(plan, loaded):
            self.kept, self.key, self.random = copy.deepcopy(loaded), key, _random_state()
        return loaded


def _key(plan: Plan, inputs: RunInputs) -> str:
    """All that a loaded model depends on."""
    template = inputs.prepared.template.source if inputs.prepared and inputs.prepared.template else None
    parts = [plan.model, plan.adapter, plan.precision.name, plan.seed, str(inputs.tokenizer_folder), template]
    return json.dumps(parts, sort_keys=True, default=str)


def _fits(plan: Plan, loaded: Loaded) -> bool:
    if plan.model.quantization:
        return False
    size = sum(tensor.numel() * tensor.element_size() for tensor in loaded.model.state_dict().values())
    needed = size + (plan.memory.peak_memory_bytes if plan.precision.cpu else size)
    return needed < SHARE_OF_MEMORY * free_memory()


def free_memory() -> int:
    """Bytes of main memory that can be had without swapping; 0 where the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "0")
    return int(found) * 1024


def _random_state() -> tuple[Any, ...]:
    device = (
        torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    )  # asking others would take up their memory
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), device


def _set_random_state(state: tuple[Any, ...]) -> None:
    python, arrays, tensors, device = state
    random.setstate(python)
    numpy.random.set_state(arrays)
    torch.set_rng_state(tensors)
    if device is not None:
        torch.cuda.set_rng_state(device)
