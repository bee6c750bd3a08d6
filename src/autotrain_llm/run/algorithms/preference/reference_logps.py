"""The reference log-probabilities of a batch: computed online, or for all rows before training and cached on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from autotrain_llm.data.bounded_caches import mark_used
from autotrain_llm.data.order import no_grad_batches
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.reference_model import BEFOREHAND
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.answer_items import Preferences
from autotrain_llm.run.engine.flat.model import LOGPROBS
from autotrain_llm.run.engine.group import AllReduceSum
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.logps import sequence_logps
from autotrain_llm.run.engine.reference_model import ReferenceModel, evaluating, load_reference_model
from autotrain_llm.run.engine.sharding import whole

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop


# Increase it when the same rows and weights give other values than before.
FORMAT = 1


class ReferenceLogps:
    """Adds to a batch `reference`, the reference log-probability of each answer, and for kto `kl`, the reference point."""

    def __init__(self, layout: BatchLayout, source: ReferenceModel, cache: LogprobCache | None = None) -> None:
        self.layout, self.source, self.cache = layout, source, cache
        self.stage = "Computing reference log-probabilities" if cache else None

    def prepare(self, loop: Loop) -> None:
        """Place the reference. With a cache: read the log-probabilities of all items, or compute and write them."""
        if self.source.model is not None:
            loop.place(self.source.model)
        if self.cache is None:
            return
        for side, items in (("train", loop.train_rows), ("valid", loop.valid_rows)):
            if items is None:
                continue
            path = self.cache.path(side, self.source)
            shape = (len(items), items.answers_each)
            items.reference = read(path, shape)
            # Processes on different machines may find different caches, and all of them must take part or none.
            if loop.args.world_size > 1 or items.reference is None:
                items.reference = self._compute(items, shape, loop)
                if path is not None and loop.args.process_index == 0:
                    write(path, items.reference)

    def _compute(self, items: Preferences, shape: tuple[int, int], loop: Loop) -> np.ndarray:
        """The reference's log-probability of each answer of each item; each process computes every world_size-th chunk.

        A process without a chunk in the last round computes the last one too: a model that is divided among them is called equally often by all.
        """
        process, processes = loop.args.process_index, loop.args.world_size
        logps = torch.zeros(shape, dtype=torch.float64, device=loop.args.device)
        chunks = list(no_grad_batches(map(items.tokens, range(len(items)))))
        for index in range(process, -(-len(chunks) // processes) * processes, processes):
            chunk = chunks[min(index, len(chunks) - 1)]
            batch = loop.on_device(self.layout.collate([items.prompt_group(item) for item in chunk]))
            with loop.autocast():
                sums = self.reference_logps(batch, loop.model_wrapped)
            if index < len(chunks):
                logps[chunk.start : chunk.stop] = sums.reshape(len(chunk), -1)
        return loop.over_processes(logps).cpu().numpy()

    def augment(self, batch: dict[str, Any], model: nn.Module, over_processes: AllReduceSum) -> dict[str, Any]:
        """The batch with `reference` and `kl` where they are missing. `model` is the policy; `over_processes` all-reduces a sum."""
        if "mismatched" in batch:  # one forward for both answers to a prompt, so that the prompt is computed once
            own, mismatched = self.reference_logps(batch["both"], model).reshape(-1, 2).unbind(1)
            return batch | {"reference": own, "kl": self._kl(batch["mismatched"], mismatched, model, over_processes)}
        return batch if "reference" in batch else batch | {"reference": self.reference_logps(batch, model)}

    def reference_logps(self, batch: Mapping[str, Any], model: nn.Module) -> torch.Tensor:
        """The reference's log-probability of each answer (answers,)."""
        with torch.no_grad(), self.source.activated(model) as reference:
            return sequence_logps(self.layout.forward(reference, dict(batch), LOGPROBS), batch)

    def _kl(
        self,
        batch: Mapping[str, Any],
        reference: torch.Tensor,
        model: nn.Module,
        over_processes: AllReduceSum,
    ) -> torch.Tensor:
        """The mean log-ratio of policy and `reference` (answers,) over the answers of all processes, clamped at zero."""
        with torch.no_grad(), evaluating(model):
            policy = sequence_logps(self.layout.forward(model, dict(batch), LOGPROBS), batch)
        ratios = policy - reference
        total, count = over_processes(torch.stack([ratios.sum(), ratios.new_tensor(float(ratios.numel()))]))
        return (total / count).clamp(min=0)


def make_reference_logps(plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout) -> ReferenceLogps:
    """The plan's reference, with the policy's batch layout. Called before the first step."""
    cache = None
    if plan.objective.reference and plan.objective.reference.when == BEFOREHAND:
        folder = inputs.cache.parent / "references" if inputs.cache else None
        cache = LogprobCache(folder, inputs.prepared.fingerprint_of, plan.precision.name)
    return ReferenceLogps(layout, load_reference_model(plan, inputs, loaded, layout), cache)


class LogprobCache:
    """Reference log-probabilities on disk, named by the content of rows and weights; without a folder nothing is cached."""

    def __init__(self, folder: Path | None, fingerprint_of: Callable[[str], str], *settings: object) -> None:
        self.folder, self.fingerprint_of, self.settings = folder, fingerprint_of, settings

    def path(self, side: str, source: ReferenceModel) -> Path | None:
        """The file for one split of the data; None without a folder."""
        if self.folder is None:
            return None
        digest = hashlib.blake2b(
            json.dumps([FORMAT, side, self.fingerprint_of(side), *self.settings]).encode(), digest_size=16
        )
        for name, tensor in source.weights():
            digest.update(name.encode())
            digest.update(whole(tensor.detach()).cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return self.folder / f"{digest.hexdigest()}.npy"


def read(path: Path | None, shape: tuple[int, int]) -> np.ndarray | None:
    """The cached log-probabilities; None if there are none, they are damaged, or their shape is another."""
    try:
        logps = np.load(path, allow_pickle=False) if path is not None else None
    except (OSError, ValueError, EOFError):
        return None
    if logps is None or path is None or logps.shape != shape:
        return None
    mark_used(path)
    return logps


def write(path: Path, logps: np.ndarray) -> None:
    """Write the log-probabilities atomically. On failure nothing is cached and the next run computes them again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as temporary:
            np.save(temporary, logps, allow_pickle=False)
        Path(temporary.name).replace(path)
    except OSError:
        return
