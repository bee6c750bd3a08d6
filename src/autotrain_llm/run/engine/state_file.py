"""A state of plain values, tensors and arrays in a file, without pickle: tensors as safetensors, the rest as JSON in the same file's header."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autotrain_llm.declare.document import parse_json

STATE = "state"  # the key of the header that has the JSON
# The keys of JSON objects that stand for what JSON does not have.
TENSOR, ARRAY, TUPLE, PAIRS, FLOAT = "tensor", "array", "tuple", "pairs", "float"


def save_state(path: Path, state: Any) -> None:
    """Write a state of plain values, tensors and arrays. Raises TypeError for any other value."""
    tensors: dict[str, torch.Tensor] = {}
    names: dict[int, str] = {}  # a tensor that occurs twice is written once
    seen: list[torch.Tensor] = []  # kept, so that no other gets its identity

    def written(tensor: torch.Tensor) -> str:
        if id(tensor) not in names:
            names[id(tensor)] = str(len(names))
            tensors[names[id(tensor)]] = tensor.detach().contiguous()
            seen.append(tensor)
        return names[id(tensor)]

    document = _as_json(state, written)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={STATE: json.dumps(document)})


def _as_json(value: Any, written: Callable[[torch.Tensor], str]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, torch.Tensor):
        return {TENSOR: written(value)}
    if isinstance(value, numpy.ndarray):
        return {ARRAY: written(torch.from_numpy(value.copy()))}
    if isinstance(value, float | numpy.floating):
        return {FLOAT: float(value).hex()}
    if isinstance(value, numpy.integer):
        return int(value)
    if isinstance(value, list):
        return [_as_json(item, written) for item in value]
    if isinstance(value, tuple):
        return {TUPLE: [_as_json(item, written) for item in value]}
    if isinstance(value, dict):
        return {PAIRS: [[_as_json(key, written), _as_json(item, written)] for key, item in value.items()]}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def load_state(path: Path) -> Any:
    """The state in a file of `save_state`, on the processor."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _from_json(parse_json(file.metadata()[STATE]), tensors)


def _from_json(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_from_json(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "tensor":
            return tensors[content]
        case "array":
            return tensors[content].numpy()
        case "float":
            return float.fromhex(content)
        case "tuple":
            return tuple(_from_json(item, tensors) for item in content)
        case _:
            return {_from_json(key, tensors): _from_json(item, tensors) for key, item in content}
