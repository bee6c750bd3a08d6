"""The processes that train together: they meet before anything is loaded, and pass small values on to each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState

AllReduceSum = Callable[[torch.Tensor], torch.Tensor]  # the sum of a tensor over all processes
LONGEST_WAIT = 1800  # seconds, the default of TrainingArguments: one process may read a model or a checkpoint while the others wait


def meet(*, on_processors: bool) -> None:
    """Wait for all processes; torch's process group is the one that TrainingArguments uses later. It may be called again."""
    backend = {"backend": "gloo"} if on_processors else {}
    PartialState(cpu=on_processors, timeout=timedelta(seconds=LONGEST_WAIT), **backend)


def from_first(value: Any) -> Any:
    """The first process's value, in all of them."""
    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """The values of all processes, by rank."""
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
