"""The initial weights of all trials, read from disk once: each trial but the first gets a copy of the model as it was loaded."""

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

MAX_SHARE_OF_MEMORY = 0.8  # of the free memory; beyond it the model is loaded anew for each trial


class InitialWeights:
    """Replaces the loading of a recipe: keeps one untouched copy of the model, with the random state after loading it.

    A copy is bit for bit what loading again would give, and so is the model trained from it. A quantised model, whose weights are on the
    device, and one that doesn't fit twice are loaded anew for each trial.
    """

    def __init__(self) -> None:
        self.key = ""
        self.original: Loaded | None = None
        self.random_state: Any = None
        self.loads = 0  # how often a model was read from disk

    def __call__(self, plan: Plan, inputs: RunInputs) -> Loaded:
        key = _key(plan, inputs)
        if self.original is not None and key == self.key:
            _set_random_state(self.random_state)
            return copy.deepcopy(self.original)
        self.original = None  # freed first, so that there are never three models in memory
        loaded = make_recipe(plan, inputs).load()
        self.loads += 1
        if _fits(plan, loaded):
            self.original, self.key, self.random_state = copy.deepcopy(loaded), key, _random_state()
        return loaded


def _key(plan: Plan, inputs: RunInputs) -> str:
    """Everything that the loaded model depends on."""
    template = inputs.prepared.template.source if inputs.prepared and inputs.prepared.template else None
    parts = [plan.model, plan.adapter, plan.precision.name, plan.seed, str(inputs.tokenizer_folder), template]
    return json.dumps(parts, sort_keys=True, default=str)


def _fits(plan: Plan, loaded: Loaded) -> bool:
    if plan.model.quantization:
        return False
    size = sum(tensor.numel() * tensor.element_size() for tensor in loaded.model.state_dict().values())
    needed = size + (plan.memory.peak_memory_bytes if plan.precision.cpu else size)
    return needed < MAX_SHARE_OF_MEMORY * free_memory()


def free_memory() -> int:
    """Bytes of main memory available without swapping; 0 if the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    kibibytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "0")
    return int(kibibytes) * 1024


def _random_state() -> tuple[Any, ...]:
    # The current device alone: a context on every other GPU would take up memory there.
    device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), device


def _set_random_state(state: tuple[Any, ...]) -> None:
    python, numpy_state, torch_state, device = state
    random.setstate(python)
    numpy.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)
    if device is not None:
        torch.cuda.set_rng_state(device)
