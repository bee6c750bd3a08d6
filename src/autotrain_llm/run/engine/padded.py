"""Patch a causal language model of any architecture so that it can be called with padded rows and the positions of their targets.

Where its head is a single matrix product, which is tested on a few tokens, the tiled head replaces it. Otherwise the logits are the model's
own, of all positions.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from autotrain_llm.run.engine.flat.model import HIDDEN, FlatOutput, causal_model, distill_output, head_weights
from autotrain_llm.run.engine.flat.tiled_head import Head
from autotrain_llm.run.engine.router_loss import router_loss

PROBE_TOKENS = 4
LOGIT_TOLERANCE = 1e-3  # of the largest logit: two kernels round differently in half precision


def prepare_padded(model: nn.Module) -> nn.Module:
    """Let `model` be called with `target_positions`; returns the same model, still unwrapped by DDP."""
    causal = causal_model(model)
    if "plain_head" not in vars(causal):
        vars(causal)["plain_head"] = _is_single_product(causal)
        causal.forward = MethodType(_forward_like(causal, causal.forward), causal)
    return model


def padded_head(model: nn.Module) -> Head:
    """The head of a prepared model; without a weight if the model returns logits."""
    causal = causal_model(model)
    return Head(*head_weights(causal.get_output_embeddings())) if vars(causal)["plain_head"] else Head(None)


def call_padded(model: nn.Module, batch: Mapping[str, Any], compute: str) -> FlatOutput:
    """Call a prepared model, wrapped or not: for its targets' hidden states, or for the loss of a distill_target."""
    names = ("input_ids", "attention_mask", "target_positions", "target_labels")
    return model(
        **{name: batch[name] for name in names},
        compute=compute,
        distill_target=batch.get("distill_target"),
        target_weights=batch.get("target_weights"),
        use_cache=False,
    )


def _forward_like(causal: PreTrainedModel, own: Any) -> Any:
    """A forward with the signature of the model's own, which generate() and the Trainer read."""

    @functools.wraps(type(causal).forward)
    def forward(self: PreTrainedModel, *args: Any, target_positions: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if target_positions is None:
            return own(*args, **kwargs)
        named = {name: kwargs.pop(name) for name in ("target_labels", "compute", "distill_target", "target_weights")}
        hidden, balance = _hidden(self, own, target_positions, kwargs)
        if named["compute"] == HIDDEN:
            return FlatOutput(hidden=hidden)
        output = distill_output(
            hidden, padded_head(self), named["target_labels"], named["distill_target"], named["target_weights"]
        )
        output.router_loss = balance
        return output

    return forward


def _hidden(
    causal: PreTrainedModel, own: Any, positions: torch.Tensor, inputs: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The input of the head at each target (targets, H), or the logits (targets, V) if the head is not a single product; and the routers' loss."""
    if vars(causal)["plain_head"]:
        with _head_of_one_token(causal) as head_inputs:
            outputs = own(**inputs)
        states = head_inputs[0]
    else:
        outputs = own(**inputs)
        states = outputs.logits
    return states.reshape(-1, states.shape[-1]).index_select(0, positions), router_loss(outputs)


@contextmanager
def _head_of_one_token(causal: PreTrainedModel) -> Iterator[list[torch.Tensor]]:
    """Collect the head's inputs, and let it compute only the first token of each row."""
    head_inputs: list[torch.Tensor] = []

    def collect(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        head_inputs.append(inputs[0])
        return (inputs[0][:, :1], *inputs[1:])

    hook = causal.get_output_embeddings().register_forward_pre_hook(collect)
    try:
        yield head_inputs
    finally:
        hook.remove()


def _is_single_product(causal: PreTrainedModel) -> bool:
    """Whether the logits are the head's input times its weight and nothing else."""
    try:
        weight, bias = head_weights(causal.get_output_embeddings())
    except (ValueError, AttributeError):  # quantised, with an adapter on it, or none
        return False
    was_training = causal.training
    ids = torch.arange(1, PROBE_TOKENS + 1, device=causal.device)[None]
    try:
        with torch.no_grad():
            causal.eval()
            logits = causal(input_ids=ids, use_cache=False).logits
            with _head_of_one_token(causal) as head_inputs:
                causal(input_ids=ids, use_cache=False)
    finally:
        causal.train(was_training)
    if len(head_inputs) != 1 or head_inputs[0].shape[:2] != ids.shape:
        return False
    product = nn.functional.linear(head_inputs[0].to(weight.dtype), weight, bias).to(logits.dtype)
    return product.shape == logits.shape and bool(
        (product - logits).abs().max() <= LOGIT_TOLERANCE * logits.abs().max()
    )
