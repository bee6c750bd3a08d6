"""The processes that train together: they meet before anything is loaded, and pass small values on to each other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import patch_environment

from autotrain_llm.run.failures import RunFailed

AllReduceSum = Callable[[torch.Tensor], torch.Tensor]  # the sum of a tensor over all processes
PATIENCE, LONGEST_MEETING = (
    10,
    900,
)  # seconds until the others are said to be missing, and until they are no longer waited for
LONGEST_WAIT = 1800  # seconds, the default of TrainingArguments: one process may read a model or a checkpoint while the others wait

_stores: list[Any] = []  # the first process serves the others while it lives


def meet(*, on_processors: bool, offloads: bool = False) -> None:
    """Wait for all processes; torch's process group is the one that TrainingArguments uses later. It may be called again. `offloads` is whether
    tensors in main memory are exchanged too: accelerate adds gloo to the group by these variables."""
    backend = {"backend": "gloo"} if on_processors else {}
    variables = {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"} if offloads else {}
    with patch_environment(**variables):
        PartialState(cpu=on_processors, timeout=timedelta(seconds=LONGEST_WAIT), **backend)


def await_others(note: Callable[[str], None], environment: Mapping[str, str] = os.environ) -> None:
    """Wait until all processes of a group have come to the address that they meet at. Says so after a while, and raises RunFailed where they don't come.

    torch waits in its own code, in which no handler of a signal runs, so it does so in a thread here. The processes of torchrun's agent meet in the agent.
    """
    size, rank = int(environment["WORLD_SIZE"]), int(environment["RANK"])
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return
    met: list[Any] = []

    def enter() -> None:
        try:
            limit = timedelta(seconds=LONGEST_MEETING)
            met.append(torch.distributed.TCPStore(host, port, size, rank == 0, limit, multi_tenant=True))
        except Exception as fault:  # which is raised where it can be handled
            met.append(fault)

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    began, was_said = time.monotonic(), False
    where = f"{size - 1} other process{'' if size == 2 else 'es'} at {host}:{port} (WORLD_SIZE is {size}, RANK {rank})"
    while thread.is_alive():
        thread.join(0.2)
        if not was_said and time.monotonic() - began > PATIENCE:
            note(
                f"Waiting for {where}, for up to {LONGEST_MEETING // 60} minutes. If there is none: unset WORLD_SIZE RANK"
            )
            was_said = True
    if isinstance(met[0], Exception):
        reason = " ".join(str(met[0]).split())
        raise RunFailed(
            f"{where} did not come: {reason}",
            "unset WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT, or start all processes",
        ) from met[0]
    _stores.append(met[0])


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
