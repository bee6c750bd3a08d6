"""The reference model: the policy before training, or another model; frozen and called without a gradient."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from peft import PeftModel
from torch import nn

from autotrain_llm.models.locate import ADAPTER
from autotrain_llm.planning.plan import Plan
from autotrain_llm.planning.reference_model import ADAPTER_AS_IT_WAS, ADAPTER_OFF, ANOTHER_MODEL, BEFOREHAND
from autotrain_llm.planning.run_inputs import RunInputs
from autotrain_llm.run.engine.layouts import BatchLayout, prepare_second_model
from autotrain_llm.run.engine.loading import Loaded, cast_linear_weights, from_located, loading_dtype, loading_options
from autotrain_llm.run.engine.sharding import first_process_loads, like, reshard


class ReferenceModel(Protocol):
    """Provides the reference model."""

    @property
    def model(self) -> nn.Module | None:
        """A model of its own; None where it is the policy in another state."""
        ...

    def activated(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The reference as a module, valid inside the context; `model` is the wrapped policy."""
        ...

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All tensors that its log-probabilities depend on."""
        ...


class FrozenReference:
    """A separate frozen model: a copy of the initial policy, or another model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.requires_grad_(False).eval()

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        yield self.model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.model.state_dict().items()


class UntrainedPolicy:
    """The policy itself before its first step: only for precomputed log-probabilities."""

    model: nn.Module | None = None

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model):
            yield model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.policy.state_dict().items()


class AdapterDisabled:
    """The policy without its adapter."""

    model: nn.Module | None = None

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model), self.policy.disable_adapter():
            yield model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        trained = {name for name, parameter in self.policy.named_parameters() if parameter.requires_grad}
        yield from ((name, tensor) for name, tensor in self.policy.state_dict().items() if name not in trained)


class InitialAdapterReference:
    """The policy with its initial adapter: a copy of the adapter's weights, swapped with the trained ones inside the context."""

    model: nn.Module | None = None

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy
        self.initial = {
            name: parameter.detach().clone() for name, parameter in policy.named_parameters() if parameter.requires_grad
        }

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model):
            self._swap()
            try:
                yield model
            finally:
                self._swap()

    def _swap(self) -> None:
        reshard(self.policy)
        with torch.no_grad():
            for name, parameter in self.policy.named_parameters():
                if name in self.initial:
                    trained = parameter.detach().clone()
                    parameter.copy_(like(self.initial[name], parameter))
                    self.initial[name] = trained

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.policy.state_dict().items()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode: no dropout, and no gradient checkpointing."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def load_reference_model(plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout) -> ReferenceModel:
    """The plan's reference model."""
    reference = plan.objective.reference
    assert reference is not None
    if reference.kind == ANOTHER_MODEL:
        return FrozenReference(
            cast_linear_weights(prepare_second_model(layout, load_named_reference(plan, inputs)), plan.precision.name)
        )
    if reference.kind == ADAPTER_OFF:
        return AdapterDisabled(loaded.model)
    if reference.when == BEFOREHAND:
        return UntrainedPolicy(loaded.model)
    if reference.kind == ADAPTER_AS_IT_WAS:
        return InitialAdapterReference(loaded.model)
    return FrozenReference(cast_linear_weights(copy.deepcopy(loaded.model), plan.precision.name))


def load_named_reference(plan: Plan, inputs: RunInputs) -> nn.Module:
    """The model of `--model-ref` in the policy's dtype; an adapter is merged into its base."""
    assert inputs.reference is not None
    located = inputs.reference.located
    options = loading_options(plan, inputs.token)
    options.pop("revision", None)  # --revision is the trained model's
    if located.kind == ADAPTER:
        options.pop("quantization_config", None)  # merging into quantised weights would round the adapter away
    with first_process_loads(plan, quantised="quantization_config" in options):
        return from_located(located, loading_dtype(plan), options)
