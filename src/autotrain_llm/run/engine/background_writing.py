"""Write the parts of a checkpoint while the training goes on: a thread writes copies in main memory.

torch.distributed.checkpoint (2.13) has `async_save` for one dictionary of tensors. A checkpoint has two, weights and states of the optimizer, and two of its threads would
arrange themselves with those of the other processes in any order; here one thread saves both, one after the other, from copies of its stager.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from torch import distributed
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from autotrain_llm.context.output_dir import PLAIN
from autotrain_llm.declare import digests
from autotrain_llm.declare.parts import SHARDED
from autotrain_llm.run.engine.sharded_states import save_now

Digests = dict[str, dict[str, Any]]


class BackgroundWriting:
    """The parts of one checkpoint at a time, written by a thread. All processes call each method, in the same order.

    The threads of the processes arrange what each writes in a group of their own, so that this is never mixed up with the collectives of the training.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None  # the checkpoint that is not complete yet
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._threads_group = distributed.new_group(backend="gloo")
        self._group = distributed.new_group(backend="gloo")
        self._saved: list[Future[None]] = []
        self._digests: Future[Digests] | None = None

    def save(self, tensors: dict[str, torch.Tensor], folder: Path) -> None:
        """Copy tensors, of which this process may have parts, and begin to write them into a folder."""
        folder.mkdir(parents=True, exist_ok=True)  # what a kill leaves is seen to be a checkpoint of parts
        stager = DefaultStager(StagingOptions(False, False, False, False))
        staged = cast(dict[str, torch.Tensor], stager.stage(tensors))  # a Future only if it stages in a thread too
        stager.close()
        self._saved.append(self._thread.submit(save_now, staged, folder, self._threads_group))

    def end(self, checkpoint: Path) -> None:
        """Nothing more belongs to this checkpoint: when all of it is written, the thread computes its digests."""
        self.folder = checkpoint
        self._digests = self._thread.submit(self._digested, checkpoint)

    def _digested(self, checkpoint: Path) -> Digests:
        """The sizes and digests of the files that this process has written."""
        own = f"shard-{distributed.get_rank() + 1:05d}-*{PLAIN}"
        return digests.listed(checkpoint, checkpoint.glob(f"{SHARDED}/*/{own}"))

    def is_written(self) -> bool:
        """Whether every process has written its parts."""
        done = torch.tensor(int(self._digests is None or self._digests.done()))
        distributed.all_reduce(done, distributed.ReduceOp.MIN, group=self._group)
        return bool(done.item())

    def wait(self) -> Digests:
        """The sizes and digests of all parts, once all of them are written. Raises what has gone wrong in the thread."""
        saved, self._saved = self._saved, []
        for future in saved:
            future.result()
        assert self._digests is not None
        own, self._digests, self.folder = self._digests.result(), None, None
        of_all: list[Digests] = [{} for _ in range(distributed.get_world_size())]
        distributed.all_gather_object(of_all, own, group=self._group)
        return {name: entry for listed in of_all for name, entry in listed.items()}
