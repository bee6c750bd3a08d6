"""The reference model: the policy as it was before training, or another model; never trained, always called without a gradient."""

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
from autotrain_llm.run.engine.loading import Loaded, from_located, cast_linear_weights, loading_options, loading_dtype


class ReferenceModel(Protocol):
    """Something that log-probabilities are compared with."""

    def activated(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """The module to call as the reference, while the context lasts; `model` is the policy, with its wrapper."""
        ...

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors that its log-probabilities depend on, by name."""
        ...


class FrozenReference:
    """A second model that is not trained: a copy of the initial policy, or another model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.requires_grad_(False).eval()

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        yield self.model.to(next(model.parameters()).device)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.model.state_dict().items()


class UntrainedPolicy:
    """The policy itself before its first step: for log-probabilities that are computed before training."""

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

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model), self.policy.disable_adapter():
            yield model

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        trained = {name for name, one in self.policy.named_parameters() if one.requires_grad}
        yield from ((name, one) for name, one in self.policy.state_dict().items() if name not in trained)


class InitialAdapterReference:
    """The policy with its initial adapter, a copy of which is swapped in for the trained one."""

    def __init__(self, policy: PeftModel) -> None:
        self.policy = policy
        self.initial = {name: one.detach().clone() for name, one in policy.named_parameters() if one.requires_grad}

    @contextmanager
    def activated(self, model: nn.Module) -> Iterator[nn.Module]:
        with evaluating(model):
            self._exchange()
            try:
                yield model
            finally:
                self._exchange()

    def _exchange(self) -> None:
        for name, one in self.policy.named_parameters():
            if name in self.initial:
                one.data, self.initial[name] = self.initial[name].to(one.device), one.data

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


def load_reference_model(plan: Plan, inputs: RunInputs, loaded: Loaded, layout: BatchLayout) -> ReferenceModel:
    """The reference model of the plan."""
    decided = plan.objective.reference
    assert decided is not None
    if decided.kind == ANOTHER_MODEL:
        return FrozenReference(
            cast_linear_weights(prepare_second_model(layout, load_named_reference(plan, inputs)), plan.precision.name)
        )
    if decided.kind == ADAPTER_OFF:
        return AdapterDisabled(loaded.model)
    if decided.when == BEFOREHAND:
        return UntrainedPolicy(loaded.model)
    if decided.kind == ADAPTER_AS_IT_WAS:
        return InitialAdapterReference(loaded.model)
    return FrozenReference(cast_linear_weights(copy.deepcopy(loaded.model), plan.precision.name))


def load_named_reference(plan: Plan, inputs: RunInputs) -> nn.Module:
    """The model that `--model-ref` names, in the type that the policy is loaded in; an adapter is merged into its base."""
    assert inputs.reference is not None
    located = inputs.reference.located
    options = loading_options(plan, inputs.token)
    options.pop("revision", None)  # the model's, not the reference's
    if located.kind == ADAPTER:
        options.pop("quantization_config", None)  # merging into rounded weights would round the adapter away
    return from_located(located, loading_dtype(plan), options)


def without_dropout(model: nn.Module) -> None:
    """Switch off the model's own dropout, so that policy and reference differ by training alone; an adapter's dropout stays on."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
