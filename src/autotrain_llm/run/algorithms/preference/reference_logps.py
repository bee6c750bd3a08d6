"""The reference log-probabilities of a batch: computed batch by batch while training, or once for all rows before it and cached on disk."""

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

from autotrain_llm.data.order import no_grad_batches
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.reference_model import BEFOREHAND
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.answer_items import Preferences
from autotrain_llm.run.engine.flat.model import LOGPROBS
from autotrain_llm.run.engine.layouts import BatchLayout
from autotrain_llm.run.engine.loading import Loaded
from autotrain_llm.run.engine.logps import sequence_logps
from autotrain_llm.run.engine.reference_model import ReferenceModel, evaluating, load_reference_model

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop


# Raised when the same rows and weights give other numbers than before.
FORMAT = 1


class ReferenceLogps:
    """Adds to a batch what the objective needs of the reference model: `reference`, a log-probability per answer, and for kto `kl`."""

    def __init__(self, layout: BatchLayout, source: ReferenceModel, cache: LogprobCache | None = None) -> None:
        self.layout, self.source, self.cache = layout, source, cache
        self.stage = "Computing reference log-probabilities" if cache else None

    def prepare(self, loop: Loop) -> None:
        """With a cache, compute the reference log-probabilities of all items once, or read them."""
        if self.cache is None:
            return
        for side, items in (("train", loop.train_rows), ("valid", loop.valid_rows)):
            if items is None:
                continue
            path = self.cache.path(side, self.source)
            shape = (len(items), items.answers_each)
            items.reference = read(path, shape)
            if loop.args.world_size > 1 or items.reference is None:  # all processes take part, or none
                items.reference = self._compute(items, shape, loop)
                if path is not None and loop.args.process_index == 0:
                    write(path, items.reference)

    def _compute(self, items: Preferences, shape: tuple[int, int], loop: Loop) -> np.ndarray:
        """The reference log-probability of each answer of each item; the ranks share the work."""
        logps = torch.zeros(shape, dtype=torch.float64, device=loop.args.device)
        for index, chunk in enumerate(no_grad_batches(map(items.tokens, range(len(items))))):
            if index % loop.args.world_size == loop.args.process_index:
                batch = loop.on_device(self.layout.collate([items.prompt_group(one) for one in chunk]))
                with loop.accelerator.autocast():
                    sums = self.of(batch, loop.model_wrapped)
                logps[chunk.start : chunk.stop] = sums.reshape(len(chunk), -1)
        return loop.over_processes(logps).cpu().numpy()

    def augment(
        self, batch: dict[str, Any], model: nn.Module, over_processes: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any]:
        """The batch with `reference` and, for kto, `kl`."""
        if "mismatched" in batch:  # one call for both answers to a prompt, so that it is computed once
            own, other = self.of(batch["both"], model).reshape(-1, 2).unbind(1)
            return batch | {"reference": own, "kl": self._kl(batch["mismatched"], other, model, over_processes)}
        return batch if "reference" in batch else batch | {"reference": self.of(batch, model)}

    def of(self, batch: Mapping[str, Any], model: nn.Module) -> torch.Tensor:
        """The reference's log-probability of each answer (answers,)."""
        with torch.no_grad(), self.source.activated(model) as reference:
            return sequence_logps(self.layout.forward(reference, dict(batch), LOGPROBS), batch)

    def _kl(
        self,
        batch: Mapping[str, Any],
        reference: torch.Tensor,
        model: nn.Module,
        over_processes: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The mean log-ratio of policy and `reference` (answers,) over the answers of all ranks, clamped at 0."""
        with torch.no_grad(), evaluating(model):
            policy = sequence_logps(self.layout.forward(model, dict(batch), LOGPROBS), batch)
        ratios = policy - reference
        both = over_processes(torch.stack([ratios.sum(), ratios.new_tensor(float(ratios.numel()))]))
        return (both[0] / both[1]).clamp(min=0)


def make_reference_logps(plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout) -> ReferenceLogps:
    """The reference model of the plan, in the layout of the policy. Called before the first step."""
    cache = None
    if plan.objective.reference and plan.objective.reference.when == BEFOREHAND:
        folder = inputs.cache.parent / "references" if inputs.cache else None
        cache = LogprobCache(folder, inputs.prepared.fingerprint, plan.precision.name)
    return ReferenceLogps(layout, load_reference_model(plan, inputs, loaded, layout), cache)


class LogprobCache:
    """Reference log-probabilities on disk, by the content of rows and weights; without a folder nothing is cached."""

    def __init__(self, folder: Path | None, *settings: object) -> None:
        self.folder, self.settings = folder, settings

    def path(self, side: str, source: ReferenceModel) -> Path | None:
        """The cache file of one side of the data."""
        if self.folder is None:
            return None
        digest = hashlib.blake2b(json.dumps([FORMAT, side, *self.settings]).encode(), digest_size=16)
        for name, tensor in source.weights():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return self.folder / f"{digest.hexdigest()}.npy"


def read(path: Path | None, shape: tuple[int, int]) -> np.ndarray | None:
    """The cached array; None if it is missing, damaged or of another shape."""
    try:
        logps = np.load(path, allow_pickle=False) if path is not None else None
    except (OSError, ValueError, EOFError):
        return None
    return logps if logps is not None and logps.shape == shape else None


def write(path: Path, logps: np.ndarray) -> None:
    """Write the array, all of it or nothing; a failure is ignored."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npy", delete=False) as beside:
            np.save(beside, logps, allow_pickle=False)
        Path(beside.name).replace(path)
    except OSError:
        return
