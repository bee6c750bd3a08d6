"""Checkpoints of a divided model by torch.distributed.checkpoint (2.13): each process writes its parts, as safetensors and not as pickle, and any number
of processes reads those that it needs.

`sharded/model` has the weights under the model's own names, `sharded/optimizer` the optimizer's states as `NAME.STATE`. What is no tensor of a
parameter's shape, and the groups of parameters with their names, is in `optimizer.safetensors`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.fsdp import FSDPModule

from autotrain_llm.declare.document import parse_json
from autotrain_llm.declare.parts import SHARDED_MODEL, SHARDED_OPTIMIZER
from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.engine.sharding import fill, like, reshard
from autotrain_llm.run.engine.state_file import load_state, save_state

OPTIMIZER = "optimizer.safetensors"
INDEX = "model.safetensors.index.json"


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and persistent buffers of a model by name, this process's parts of them; tied ones once. A value head has a file of its own."""
    reshard(model)
    weights: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and VALUE_HEAD not in name.split("."):
            seen.add(id(tensor))
            weights[name] = tensor.detach() if isinstance(tensor, nn.Parameter) else tensor
    return weights


Save = Callable[[dict[str, torch.Tensor], Path], None]


def save_now(tensors: dict[str, torch.Tensor], folder: Path, group: Any = None) -> None:
    """Write tensors, of which this process may have parts. All processes of the group have to call it, and each raises what has gone wrong in any."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _unwrapped():
        dcp.save(tensors, storage_writer=writer, process_group=group)


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise the exception of a process in place of the one that torch wraps around it, which is no Exception."""
    try:
        yield
    except CheckpointException as wrapped:
        raise next(iter(wrapped.failures.values()))[0] from None


def save_model(model: nn.Module, checkpoint: Path, save: Save = save_now) -> None:
    """Write the weights of a divided model, now or in the background. All processes have to call it."""
    save(weights_of(model), checkpoint / SHARDED_MODEL)


def load_model(model: nn.Module, checkpoint: Path) -> None:
    """Load the weights of a checkpoint, in parts or whole, into a model, in parts or whole. Raises KeyError for a missing weight."""
    if (checkpoint / SHARDED_MODEL).is_dir():
        _load(weights_of(model), checkpoint / SHARDED_MODEL)
        return
    targets = model.state_dict(keep_vars=True)
    if targets.keys() >= _names_in(checkpoint):
        for path in _files(checkpoint):
            load_tensors(targets, path)
        return
    # transformers saves some architectures (mixtures of experts) as they are published, with other names and shapes than it computes with.
    causal = causal_model(model)
    kind: Any = next(kind for kind in type(causal).__mro__ if not issubclass(kind, FSDPModule))
    saved = kind.from_pretrained(checkpoint, dtype=causal.dtype, local_files_only=True)
    for name, tensor in saved.state_dict().items():
        fill(targets[name], tensor)


def load_tensors(targets: dict[str, torch.Tensor], path: Path) -> None:
    """Load whole tensors from a file into tensors of which this process may have parts, by name."""
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            fill(targets[name], file.get_tensor(name))


def _names_in(checkpoint: Path) -> set[str]:
    names: set[str] = set()
    for path in _files(checkpoint):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
    return names


def _files(checkpoint: Path) -> list[Path]:
    index = checkpoint / INDEX
    if not index.exists():
        return [checkpoint / "model.safetensors"]
    names = parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()
    return [checkpoint / name for name in sorted(set(names))]


def save_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, checkpoint: Path, save: Save = save_now, *, is_first: bool
) -> None:
    """Write the states of the optimizer of a divided model. All processes have to call it; the first one writes what is not divided."""
    reshard(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        is_divided = {key: _has_shape(value, parameter) for key, value in state.items()}
        tensors |= {f"{name}.{key}": value for key, value in state.items() if is_divided[key]}
        plain[name] = {key: value for key, value in state.items() if not is_divided[key]}
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in group["params"]]} for group in optimizer.param_groups
    ]
    save(tensors, checkpoint / SHARDED_OPTIMIZER)
    if is_first:
        save_state(checkpoint / OPTIMIZER, {"param_groups": groups, "state": plain, "tensors": sorted(tensors)})


def load_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, checkpoint: Path) -> None:
    """Load the states of a checkpoint, in parts or whole, into the optimizer of a model, in parts or whole."""
    document = load_state(checkpoint / OPTIMIZER)
    in_order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if "tensors" not in document:  # written by `optimizer.state_dict()`: parameters by their place
        state = {
            place: {key: _part(value, in_order[place]) for key, value in entry.items()}
            for place, entry in document["state"].items()
        }
        optimizer.load_state_dict({**document, "state": state})
        return
    parameters = dict(model.named_parameters())
    places = {id(parameter): place for place, parameter in enumerate(in_order)}
    targets: dict[str, torch.Tensor] = {}
    for tensor in document["tensors"]:
        name, _, key = tensor.rpartition(".")
        targets[tensor] = torch.zeros_like(parameters[name].detach())
    _load(targets, checkpoint / SHARDED_OPTIMIZER)
    states: dict[int, dict[str, Any]] = {
        places[id(parameters[name])]: dict(plain) for name, plain in document["state"].items()
    }
    for tensor, value in targets.items():
        name, _, key = tensor.rpartition(".")
        states[places[id(parameters[name])]][key] = value
    groups = [
        {**group, "params": [places[id(parameters[name])] for name in group["params"]]}
        for group in document["param_groups"]
    ]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def _has_shape(value: Any, parameter: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape == parameter.shape


def _part(value: Any, parameter: torch.Tensor) -> Any:
    return like(value, parameter) if _has_shape(value, parameter) else value


def _load(targets: dict[str, torch.Tensor], folder: Path) -> None:
    """Fill these tensors, each process its own parts of them. A process alone needs no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        with _unwrapped():
            dcp.load(targets, storage_reader=HuggingFaceStorageReader(str(folder)))
