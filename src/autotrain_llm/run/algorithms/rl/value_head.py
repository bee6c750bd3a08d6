"""The value head: predicts the return from each answer token on, from the hidden state that predicts the token.

It is a submodule of the model, so that DDP, autocast and adapters include it, and is left out when the model is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.engine.sharded_states import load_tensors
from autotrain_llm.run.engine.sharding import reshard, whole
from autotrain_llm.trainers.ppo import SEPARATE

FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """A float32 linear layer, initialised to zero, on the last hidden state of the policy or of a backbone of its own."""

    def __init__(self, hidden_size: int, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.backbone = backbone

    def forward(self, hidden: torch.Tensor, run_backbone: Callable[[nn.Module], torch.Tensor]) -> torch.Tensor:
        """The values (K,) of the policy's hidden states (K, H), or of those that `run_backbone` returns for the head's own backbone."""
        if self.backbone is not None:
            hidden = run_backbone(self.backbone)
        with torch.autocast(hidden.device.type, enabled=False):
            return self.linear(hidden.to(self.linear.weight.dtype))[:, 0]


def add_value_head(model: nn.Module, kind: str) -> None:
    """Add a new value head to a model; the kind `separate` has a copy of the backbone, with the same parameters trained."""
    causal = causal_model(model)
    backbone = copy.deepcopy(causal.base_model) if kind == SEPARATE else None
    width = causal.get_output_embeddings().weight.shape[-1]  # not always hidden_size: OPT may project its last states
    put_value_head(model, ValueHead(width, backbone))


def put_value_head(model: nn.Module, head: ValueHead) -> None:
    """Set the value head of a model."""
    causal = causal_model(model)
    head.to(causal.device)
    if causal.dtype == torch.float64:
        head.linear.double()
    causal.add_module(VALUE_HEAD, head)


def value_head_of(model: nn.Module) -> ValueHead | None:
    """The model's value head; None if it has none."""
    head = dict(causal_model(model).named_children()).get(VALUE_HEAD)
    return head if isinstance(head, ValueHead) else None


@contextmanager
def without_value_head(model: nn.Module) -> Iterator[None]:
    """Remove the value head inside the context, as for saving: other libraries don't know it."""
    causal: Any = causal_model(model)
    head = value_head_of(model)
    if head is None:
        yield
        return
    delattr(causal, VALUE_HEAD)
    try:
        yield
    finally:
        causal.add_module(VALUE_HEAD, head)


def save_value_head(model: nn.Module, folder: Path, *, is_first: bool = True) -> None:
    """Write the trained parameters of the head, atomically, in the first process. Of a divided model all processes have to call it."""
    head = value_head_of(model)
    if head is None:
        return
    reshard(model)
    trained = {}
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            weight = whole(parameter.detach())
            trained[name] = weight.cpu().contiguous() if is_first else weight[:0]
    if not is_first:
        return
    unfinished = folder / f".{FILE}"
    save_file(trained, unfinished)
    unfinished.replace(folder / FILE)


def load_value_head(model: nn.Module, folder: Path) -> None:
    """Load the head's weights from a checkpoint; nothing if the model has no head."""
    head = value_head_of(model)
    if head is not None:
        reshard(model)
        load_tensors(dict(head.named_parameters()), folder / FILE)
