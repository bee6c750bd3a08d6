"""What answers are compared with: the model as it was before training, or another one, never with a gradient.

It is computed beside each batch, or once for all rows before the training (`beforehand`).
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from peft import PeftModel
from torch import nn

from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.order import quiet_batches
from autotrain_llm.models.locate import ADAPTER
from autotrain_llm.planning.make import Plan
from autotrain_llm.planning.reference_model import ADAPTER_AS_IT_WAS, ADAPTER_OFF, ANOTHER_MODEL, BEFOREHAND
from autotrain_llm.run.algorithms.preference.dataset import Preferences
from autotrain_llm.run.algorithms.preference.logps import summed
from autotrain_llm.run.engine.flat.model import LOGPROBS
from autotrain_llm.run.engine.layouts import Layout, prepared_as
from autotrain_llm.run.engine.loading import Loaded, from_located, in_type_of_products, loading_options, loading_type

if TYPE_CHECKING:
    from autotrain_llm.run.engine.loop import Loop

# Raised when the same rows and weights give other numbers than before.
FORMAT = 1


class Source(Protocol):
    """Where the reference's log-probabilities come from."""

    def standing_in(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The module to call, while it is the reference; `model` is the policy, as it is wrapped."""
        ...

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All that decides what the reference says."""
        ...


class Frozen:
    """A model of its own that is not trained: a copy of the policy as it was, or another one."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.requires_grad_(False).eval()

    @contextmanager
    def standing_in(self, model: nn.Module) -> Iterator[nn.Module]:
        yield self.model.to(next(model.parameters()).device)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.model.state_dict().items()


class Untrained:
    """The policy itself, before its first step: only for what is computed beforehand."""

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy

    @contextmanager
    def standing_in(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model):
            yield model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.policy.state_dict().items()


class AdapterOff:
    """The policy without its adapter."""

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy

    @contextmanager
    def standing_in(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model), self.policy.disable_adapter():
            yield model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        trained = {name for name, one in self.policy.named_parameters() if one.requires_grad}
        yield from ((name, one) for name, one in self.policy.state_dict().items() if name not in trained)


class AdapterAsItWas:
    """The policy with the adapter that it began with, which is kept beside the one that is trained and put in its place."""

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy
        self.kept = {name: one.detach().clone() for name, one in policy.named_parameters() if one.requires_grad}

    @contextmanager
    def standing_in(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model):
            self._exchange()
            try:
                yield model
            finally:
                self._exchange()

    def _exchange(self) -> None:
        for name, one in self.policy.named_parameters():
            if name in self.kept:
                one.data, self.kept[name] = self.kept[name].to(one.device), one.data

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.policy.state_dict().items()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, and without computing activations twice."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


class References:
    """Puts into a batch what its objective compares with: `reference`, a log-probability for each answer, and `kl`."""

    def __init__(self, layout: Layout, source: Source, kept: Kept | None = None) -> None:
        self.layout, self.source, self.kept = layout, source, kept
        self.stage = "Computing what the reference says" if kept else None

    def prepare(self, loop: Loop) -> None:
        """With `kept`, compute the reference's side of all items, once, or find it where it was kept."""
        if self.kept is None:
            return
        for side, items in (("train", loop.train_rows), ("valid", loop.valid_rows)):
            if items is None:
                continue
            place = self.kept.place(side, self.source)
            shape = (len(items), items.answers_each)
            items.reference = read(place, shape)
            if loop.args.world_size > 1 or items.reference is None:  # all processes take part, or none
                items.reference = self._said_of(items, shape, loop)
                if place is not None and loop.args.process_index == 0:
                    write(place, items.reference)

    def _said_of(self, items: Preferences, shape: tuple[int, int], loop: Loop) -> np.ndarray:
        """The reference's log-probability of each answer of each item; the processes share the work."""
        known = torch.zeros(shape, dtype=torch.float64, device=loop.args.device)
        for number, chunk in enumerate(quiet_batches(map(items.tokens, range(len(items))))):
            if number % loop.args.world_size == loop.args.process_index:
                batch = loop.on_device(self.layout.collate([items.family(one) for one in chunk]))
                with loop.accelerator.autocast():
                    sums = self.of(batch, loop.model_wrapped)
                known[chunk.start : chunk.stop] = sums.reshape(len(chunk), -1)
        return loop.over_processes(known).cpu().numpy()

    def into(
        self, batch: dict[str, Any], model: nn.Module, over_processes: Callable[[torch.Tensor], torch.Tensor]
    ) -> dict[str, Any]:
        """The batch with what is missing. `model` is the policy; `over_processes` adds up a tensor of each process."""
        if "mismatched" in batch:  # one call for both answers to a prompt, so that it is computed once
            own, other = self.of(batch["both"], model).reshape(-1, 2).unbind(1)
            return batch | {"reference": own, "kl": self._kl(batch["mismatched"], other, model, over_processes)}
        return batch if "reference" in batch else batch | {"reference": self.of(batch, model)}

    def of(self, batch: Mapping[str, Any], model: nn.Module) -> torch.Tensor:
        """The reference's log-probability of each answer (answers,)."""
        with torch.no_grad(), self.source.standing_in(model) as reference:
            return summed(self.layout.forward(reference, dict(batch), LOGPROBS), batch)

    def _kl(
        self,
        batch: Mapping[str, Any],
        reference: torch.Tensor,
        model: nn.Module,
        over_processes: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The mean log-ratio of policy and `reference` (answers,) over the answers of all processes, not below zero."""
        with torch.no_grad(), evaluating(model):
            policy = summed(self.layout.forward(model, dict(batch), LOGPROBS), batch)
        ratios = policy - reference
        both = over_processes(torch.stack([ratios.sum(), ratios.new_tensor(float(ratios.numel()))]))
        return (both[0] / both[1]).clamp(min=0)


def find_references(plan: Plan, context: RunContext, loaded: Loaded, layout: Layout) -> References:
    """The reference that the plan decided on, laid out as the policy is. Called before the first step."""
    kept = None
    if plan.objective["reference"]["when"] == BEFOREHAND:
        assert context.prepared is not None
        folder = context.cache.parent / "references" if context.cache else None
        kept = Kept(folder, context.prepared.fingerprint, plan.precision["name"])
    return References(layout, find_source(plan, context, loaded, layout), kept)


def find_source(plan: Plan, context: RunContext, loaded: Loaded, layout: Layout) -> Source:
    """Where the reference that the plan decided on has its weights."""
    decided = plan.objective["reference"]
    if decided["kind"] == ANOTHER_MODEL:
        return Frozen(in_type_of_products(prepared_as(layout, load_other(plan, context)), plan.precision["name"]))
    if decided["kind"] == ADAPTER_OFF:
        return AdapterOff(loaded.model)
    if decided["when"] == BEFOREHAND:
        return Untrained(loaded.model)
    if decided["kind"] == ADAPTER_AS_IT_WAS:
        return AdapterAsItWas(loaded.model)
    return Frozen(in_type_of_products(copy.deepcopy(loaded.model), plan.precision["name"]))


def load_other(plan: Plan, context: RunContext) -> nn.Module:
    """The model that `--model-ref` names, in the type that the policy is loaded in; an adapter is merged into its base."""
    assert context.reference is not None
    located = context.reference.located
    options = loading_options(plan, context.token)
    options.pop("revision", None)  # the model's, not the reference's
    if located.kind == ADAPTER:
        options.pop("quantization_config", None)  # merging into rounded weights would round the adapter away
    return from_located(located, loading_type(plan), options)


def without_dropout(model: nn.Module) -> None:
    """Switch off the model's own dropout, so that policy and reference differ in nothing but what was learnt; an adapter's is left on."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


class Kept:
    """What references said before, by the content of rows and weights, in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, *settings: object) -> None:
        self.folder, self.settings = folder, settings

    def place(self, side: str, source: Source) -> Path | None:
        """The file for one side of the data."""
        if self.folder is None:
            return None
        digest = hashlib.blake2b(json.dumps([FORMAT, side, *self.settings]).encode(), digest_size=16)
        for name, tensor in source.weights():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return self.folder / f"{digest.hexdigest()}.npy"


def read(place: Path | None, shape: tuple[int, int]) -> np.ndarray | None:
    """The numbers of this shape that were written there."""
    try:
        known = np.load(place, allow_pickle=False) if place is not None else None
    except (OSError, ValueError, EOFError):
        return None
    return known if known is not None and known.shape == shape else None


def write(place: Path, known: np.ndarray) -> None:
    """Put the numbers there, whole or not at all: what can't be kept is computed again."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".npy", delete=False) as beside:
            np.save(beside, known, allow_pickle=False)
        Path(beside.name).replace(place)
    except OSError:
        return
