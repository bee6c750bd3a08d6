"""The value head: the expected return before each token, from the hidden state that predicts it.

It is a module of the wrapped model, so that parallel training, autocast and adapters see it, and is left out when the model is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.trainers.ppo import SEPARATE

FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """One linear map in float32, initialised to 0; on the policy's last hidden state, or on that of a backbone of its own."""

    def __init__(self, hidden_size: int, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.backbone = backbone

    def forward(self, hidden: torch.Tensor, through: Callable[[nn.Module], torch.Tensor]) -> torch.Tensor:
        """The value before each of K tokens (K,): of the policy's hidden states (K, H), or of what `through` returns for its own backbone."""
        if self.backbone is not None:
            hidden = through(self.backbone)
        with torch.autocast(hidden.device.type, enabled=False):
            return self.linear(hidden.to(self.linear.weight.dtype))[:, 0]


def add_value_head(model: nn.Module, kind: str) -> None:
    """Add a new value head to a model; `separate` copies the backbone, with its trainable and frozen parameters."""
    causal = causal_model(model)
    backbone = copy.deepcopy(causal.base_model) if kind == SEPARATE else None
    put_value_head(model, ValueHead(causal.config.get_text_config().hidden_size, backbone))


def put_value_head(model: nn.Module, head: ValueHead) -> None:
    """Set the value head of a model."""
    causal = causal_model(model)
    head.to(causal.device)
    if causal.dtype == torch.float64:
        head.linear.double()
    causal.add_module(VALUE_HEAD, head)


def value_head_of(model: nn.Module) -> ValueHead | None:
    """The model's value head; None where it has none."""
    found = dict(causal_model(model).named_children()).get(VALUE_HEAD)
    return found if isinstance(found, ValueHead) else None


@contextmanager
def without_value_head(model: nn.Module) -> Iterator[None]:
    """The model without its value head, while the context lasts."""
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


def save_value_head(model: nn.Module, folder: Path) -> None:
    """Write the head's trainable parameters, all of them or nothing."""
    head = value_head_of(model)
    if head is None:
        return
    trained = {name: one.detach().cpu().contiguous() for name, one in head.named_parameters() if one.requires_grad}
    unfinished = folder / f".{FILE}"
    save_file(trained, unfinished)
    unfinished.replace(folder / FILE)


def load_value_head(model: nn.Module, folder: Path) -> None:
    """Load the head from a checkpoint."""
    head = value_head_of(model)
    if head is not None:
        head.load_state_dict(load_file(folder / FILE), strict=False)  # what is frozen is the model's own
