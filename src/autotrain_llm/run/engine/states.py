"""The states of optimizer, schedule, gradient scaler and random numbers in a checkpoint, without pickle: tensors as safetensors, the rest as JSON
in the same file's header.

transformers 5.23 writes them with `torch.save`. Checkpoints of earlier versions, which have such files, are still read, with `weights_only`.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME

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


class PlainStates(Trainer):
    """A Trainer whose checkpoints hold no pickle. It overrides the methods of transformers 5.23 that write and read these files.

    A state that other libraries divide among processes or that has other objects in it is written as transformers does, and said.
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights, without the pickle of the arguments that transformers writes beside them and nothing reads."""
        super()._save(output_dir, state_dict)
        Path(output_dir or str(self.args.output_dir), TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        def plainly() -> None:
            assert self.optimizer is not None and self.lr_scheduler is not None
            save_state(Path(output_dir, "optimizer.safetensors"), self.optimizer.state_dict())
            save_state(Path(output_dir, "scheduler.safetensors"), self.lr_scheduler.state_dict())

        self._saved(plainly, lambda: super(PlainStates, self)._save_optimizer_and_scheduler(output_dir))

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is None:
            return

        def plainly() -> None:
            save_state(Path(output_dir, "scaler.safetensors"), scaler.state_dict())

        self._saved(plainly, lambda: super(PlainStates, self)._save_scaler(output_dir))

    def _saved(self, plainly: Callable[[], None], by_transformers: Callable[[], None]) -> None:
        """Save in the first process, plainly where that is possible."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            by_transformers()
        elif self.args.should_save:
            try:
                plainly()
            except (TypeError, RuntimeError) as problem:  # safetensors refuses tensors that share memory
                if not isinstance(problem, TypeError) and "share memory" not in str(problem):
                    raise
                warnings.warn(f"the state of the optimizer is saved by torch.save: {problem}", stacklevel=2)
                by_transformers()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(checkpoint or "")
        if checkpoint is None or not (folder / "optimizer.safetensors").exists():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        self.optimizer.load_state_dict(load_state(folder / "optimizer.safetensors"))
        self.lr_scheduler.load_state_dict(load_state(folder / "scheduler.safetensors"))

    def _load_scaler(self, checkpoint: str | None) -> None:
        path = Path(checkpoint or "", "scaler.safetensors")
        if checkpoint is None or not path.exists():
            super()._load_scaler(checkpoint)
        else:
            self.accelerator.scaler.load_state_dict(load_state(path))

    def _save_rng_state(self, output_dir: str) -> None:
        if self.args.device.type not in ("cpu", "cuda", "mps"):
            super()._save_rng_state(output_dir)
            return
        state = {"python": random.getstate(), "numpy": numpy.random.get_state(), "cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        save_state(self._random_state(Path(output_dir)), state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        path = self._random_state(Path(checkpoint or ""))
        if checkpoint is None or not path.exists():
            super()._load_rng_state(checkpoint)
            return
        state = load_state(path)
        random.setstate(state["python"])
        numpy.random.set_state(state["numpy"])
        torch.set_rng_state(state["cpu"])
        if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])

    def _random_state(self, folder: Path) -> Path:
        """One process writes one file; several write one each."""
        number = f"_{self.args.process_index}" if self.args.world_size > 1 else ""
        return folder / f"rng_state{number}.safetensors"
