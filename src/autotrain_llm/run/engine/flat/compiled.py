"""Compile the decoder layers of a prepared model: each into one graph, whatever the lengths of a batch.

Only calls with segments run compiled; generation and padded calls run the layer's own code. The layers share their graphs. What lies between
the layers, checkpointing and the hooks of sharding, stays outside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, wraps
from types import MethodType
from typing import Any

import torch
from torch import nn

from autotrain_llm.run.engine.flat.model import causal_model, decoder_layers

INDUCTOR = "inductor"
GRAPHS_OF_LAYERS = 64  # more than the kinds of layers, with and without gradients, in training and evaluation


class Graphs:
    """How many graphs this process has compiled since this was made."""

    made = 0

    def __init__(self) -> None:
        self.before = Graphs.made

    @property
    def count(self) -> int:
        return Graphs.made - self.before


def compile_layers(model: nn.Module, backend: str = INDUCTOR) -> Graphs:
    """Let the decoder layers of a prepared model run compiled in calls with segments. Call it before DDP or FSDP wrap the model.

    A layer that can't be one graph raises torch's error at its first call. Later models of the process use the same graphs if their layers
    are of the same shape.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS_OF_LAYERS)
    torch._dynamo.config.specialize_float = True  # epsilons and scales: else every graph is made twice
    for layer in decoder_layers(causal_model(model)):
        vars(layer)["forward"] = MethodType(_forward(type(layer).forward, backend), layer)
    return Graphs()


@cache
def _forward(own: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """A class's forward of its layers: compiled where it is called with segments. It is a function of the class, so that a copy of a model
    calls its own layers."""
    # transformers (5.23) wraps the forward of layers for checkpointing, and the wrapper does not checkpoint in a class that FSDP2 has changed.
    inner = getattr(own, "__wrapped__", own)
    compiled = torch.compile(inner, backend=partial(_counted, backend), fullgraph=True, dynamic=True)

    @wraps(own)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("segments") is None:
            return own(self, *args, **kwargs)
        if self.training and getattr(self, "gradient_checkpointing", False):
            return self._gradient_checkpointing_func(partial(compiled, self, **kwargs), *args)
        return compiled(self, *args, **kwargs)

    return forward


def _counted(backend: str, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    Graphs.made += 1
    compiled: Callable[..., Any] = torch._dynamo.lookup_backend(backend)(graph, inputs)
    return compiled
