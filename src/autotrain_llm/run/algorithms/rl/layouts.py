"""Batch layouts of a policy: log-probabilities at the sampling temperature, the entropy, and with a value head the values."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from autotrain_llm.run.engine.flat.model import VALUE_HEAD, VALUES, FlatOutput, causal_model
from autotrain_llm.run.engine.layouts import FORWARD_INPUTS, Flat, Padded
from autotrain_llm.run.engine.router_loss import router_loss

PADDED_FORWARD_INPUTS = ("input_ids", "attention_mask", "target_positions", "target_labels")


class FlatPolicy(Flat):
    """Answers as segments of one flat sequence."""

    def __init__(self, model: nn.Module, temperature: float, attention: str | None = None) -> None:
        super().__init__(model, attention)
        self.temperature = temperature

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        inputs = {name: batch[name] for name in FORWARD_INPUTS}
        return model(**inputs, compute=compute, temperature=self.temperature, with_entropy=True)


class PaddedPolicy(Padded):
    """Answers padded on the right. The model's forward is replaced by one that also takes the targets."""

    def __init__(self, model: nn.Module, pad_token: int, temperature: float) -> None:
        super().__init__(pad_token)
        self.temperature = temperature
        causal = causal_model(model)
        causal.forward = MethodType(_forward_like(causal), causal)

    def forward(self, model: nn.Module, batch: dict[str, Any], compute: str) -> FlatOutput:
        inputs = {name: batch[name] for name in PADDED_FORWARD_INPUTS}
        return model(**inputs, compute=compute, temperature=self.temperature)


def _forward_like(causal: PreTrainedModel) -> Any:
    """A forward with the signature of the model's own, which generate() inspects; with targets it returns a FlatOutput."""

    @functools.wraps(type(causal).forward)
    def forward(self: PreTrainedModel, *args: Any, target_positions: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if target_positions is None:
            return type(self).forward(self, *args, **kwargs)
        return _padded_forward(self, target_positions, **kwargs)

    return forward


def _padded_forward(
    causal: PreTrainedModel,
    target_positions: torch.Tensor,
    *,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    target_labels: torch.Tensor,
    compute: str,
    temperature: float,
    **unused: Any,  # PEFT passes all arguments of a causal language model
) -> FlatOutput:
    states: list[torch.Tensor] = []
    backbone: nn.Module = causal.base_model
    hook = backbone.register_forward_hook(lambda module, inputs, output: states.append(output[0]))
    try:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        outputs = type(causal).forward(causal, **inputs)
    finally:
        hook.remove()
    logits = outputs.logits
    target_logits = _at(logits, target_positions)
    target_logits = (target_logits if target_logits.dtype == torch.float64 else target_logits.float()) / temperature
    log_probs = torch.log_softmax(target_logits, dim=-1)
    value = None
    if compute == VALUES:
        head = causal.get_submodule(VALUE_HEAD)
        value = head(_at(states[0], target_positions), lambda own: _at(own(**inputs)[0], target_positions))
    return FlatOutput(
        logprobs=log_probs.gather(1, target_labels[:, None]).squeeze(1),
        correct=target_logits.detach().argmax(-1) == target_labels,
        entropy=-(log_probs.exp() * log_probs).sum(-1),
        value=value,
        router_loss=router_loss(outputs),
    )


def _at(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The states (rows, length, H) at K flat positions: (K, H)."""
    return states.reshape(-1, states.shape[-1]).index_select(0, positions)
