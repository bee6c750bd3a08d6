"""`autotrain` with FSDP2 on processors, for tests alone: a program to run in place of `-m autotrain_llm`.

accelerate 1.15 divides a model among processes on accelerators only, and E508 says so before anything is loaded. torch's FSDP2 itself works with
gloo, and this lifts both gates. What passes here was not run on GPUs with NCCL.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.fsdp import CPUOffloadPolicy

from autotrain_llm.cli.main import main
from autotrain_llm.declare.rule import Rule

LIFTED = ("E508", "E523")


def lift() -> None:
    """Let accelerate take processors for devices that a model can be divided among, and leave out the rule that says that it doesn't."""
    initialise, check = AcceleratorState.__init__, Rule.check

    def divided(self: AcceleratorState, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        plugin = kwargs.get("fsdp_plugin")
        if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin
            if isinstance(plugin.cpu_offload, CPUOffloadPolicy):
                plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)  # there is no GPU to copy to
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = divided  # type: ignore[method-assign]
    Rule.check = lambda self, known: iter(()) if self.code in LIFTED else check(self, known)  # type: ignore[method-assign]


def end_while_writing(place: str) -> None:
    """End this process as a `kill -9` does, in the thread that writes the parts of a checkpoint, in the folder of this name."""
    write = HuggingFaceStorageWriter.write_data

    def killed(self: HuggingFaceStorageWriter, *args: Any, **kwargs: Any) -> Any:
        if place in str(self.path):
            os.kill(os.getpid(), signal.SIGKILL)
        return write(self, *args, **kwargs)

    HuggingFaceStorageWriter.write_data = killed  # type: ignore[method-assign]


if __name__ == "__main__":
    lift()
    if place := os.environ.get("KILLED_WHILE_WRITING"):
        end_while_writing(place)
    sys.exit(main())
