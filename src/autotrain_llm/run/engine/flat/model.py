"""Patch a causal language model so that it can be called with a flat batch; other calls work as before.

`prepare_model` replaces the `forward` of the model beneath PEFT, DDP or FSDP, so that backbone, head and loss all run inside
the wrapped call. A call without segments goes to the model's own `forward` with its own attention.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from autotrain_llm.models.architectures import ALLOWED, UNDOING, Architecture, keeps_rows_apart
from autotrain_llm.run.engine.flat import attention
from autotrain_llm.run.engine.flat.batch import Segments
from autotrain_llm.run.engine.flat.distillation_loss import DistillTarget, distillation_loss
from autotrain_llm.run.engine.flat.tiled_head import Head, LogitTransform, linear_cross_entropy, linear_logprobs

LOSS = "loss"
LOGPROBS = "logprobs"
HIDDEN = "hidden"
SCORES = "scores"
VALUES = "values"
DISTILLED = "distilled"
SCORE_HEADS = ("score", "classifier")  # names of classifiers' heads in transformers
VALUE_HEAD = "value_head"  # name of the value head, a submodule of the causal language model


FlatCall = Callable[..., "FlatOutput"]  # a prepared model's forward for a call with segments


def logit_transform(architecture: Architecture, config: PretrainedConfig) -> LogitTransform:
    """What this model's head computes besides a matrix product."""
    scale = 1.0
    if architecture.multiplied_by:
        scale = float(getattr(config, architecture.multiplied_by))
    if architecture.divided_by:
        scale = 1.0 / float(getattr(config, architecture.divided_by))
    return LogitTransform(scale, getattr(config, architecture.softcapped_by) if architecture.softcapped_by else None)


def supported(config: PretrainedConfig) -> tuple[bool, str]:
    """Whether this architecture's attention stays within segments; if not, the reason."""
    return keeps_rows_apart({name: getattr(config, name, None) for name in ("model_type", *UNDOING)})


@dataclass
class FlatOutput(ModelOutput):
    """What a flat call returns. `compute` decides which of `loss`, `logprobs` and `hidden` carries a gradient.

    `loss` is the summed cross entropy of the K targets, in nats, each times its weight if the batch has `target_weights`; `logprobs` (K,) their log-probabilities; `hidden` (K, H) the hidden states
    that predict them. `correct` (K,) says whether the target is the model's prediction; `entropy` (K,) is in nats. `scores` (answers,) are
    a classifier's, (answers, N) where it has N outputs; `value` (K,) is the value head's estimate before each target; `divergence` (tokens,) is that from a teacher; `router_loss`
    the balancing loss of a mixture of experts, a mean over tokens.
    """

    loss: torch.Tensor | None = None
    logprobs: torch.Tensor | None = None
    correct: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    value: torch.Tensor | None = None
    divergence: torch.Tensor | None = None
    router_loss: torch.Tensor | None = None


def prepare_model(model: torch.nn.Module, own_attention: str | None = None) -> torch.nn.Module:
    """Let `model` be called with what `flatten` returns; returns the same model, not yet wrapped by DDP or FSDP.

    A flat call takes, besides the batch, `compute`: "loss" (the summed cross entropy, gradients in one pass), "logprobs" (of each target,
    differentiable), "distilled" (the loss of a `distill_target`), "values" (log-probabilities, and the module `value_head`'s values of the
    same hidden states) or "hidden" (no head); `with_entropy`; and the `temperature` by which logits are divided. `own_attention` is the
    implementation of normal calls: by default the one that transformers prefers. Raises ValueError for an architecture that is not allowed.
    """
    causal = causal_model(model)
    fits, reason = supported(causal.config)
    if not fits:
        raise ValueError(reason)
    return install(model, _flat_forward, own_attention)


def install(model: torch.nn.Module, flat_forward: FlatCall, own_attention: str | None = None) -> torch.nn.Module:
    """Use `flat_forward` for the model's calls with segments; `release_model` undoes it."""
    causal = causal_model(model)
    if "flat" in vars(causal):
        return model
    attention.register()
    own = own_attention or causal.get_correct_attn_implementation(None)
    vars(causal)["flat"] = _Flat(flat_forward, own, vars(causal).get("forward"))
    causal.forward = MethodType(_forward_like(causal), causal)
    switch(model, on=True)
    return model


def release_model(model: torch.nn.Module) -> torch.nn.Module:
    """Undo `prepare_model`: the model's own forward, the model's own attention."""
    causal = causal_model(model)
    if "flat" not in vars(causal):
        return model
    flat = _state(causal)
    switch(model, on=False)
    if flat.earlier_forward is None:
        del causal.forward
    else:
        causal.forward = flat.earlier_forward
    del vars(causal)["flat"]
    return model


def switch(model: torch.nn.Module, on: bool) -> None:
    """Give a prepared model the attention over segments, or its own back: for `generate()` and all other padded calls.

    Calls switch by themselves; `generate()` reads the attention's name before it calls the model, so it has to be switched first.
    """
    causal = causal_model(model)
    flat = _state(causal)
    if flat.on != on:
        causal.set_attn_implementation(attention.NAME if on else flat.own_attention)
        flat.on = on


def causal_model(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model beneath PEFT and beneath the wrappers of parallel training."""
    inner: Any = model
    while not isinstance(inner, PreTrainedModel):
        below = inner.get_base_model() if isinstance(inner, PeftModel) else getattr(inner, "module", None)
        if not isinstance(below, torch.nn.Module):
            raise TypeError(f"no transformers model in {type(model).__name__}")
        inner = below
    return inner


def decoder_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of the model's backbones, which transformers does not split among devices."""
    kinds = {name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    return [module for module in model.modules() if type(module).__name__ in kinds]


@dataclass
class _Flat:
    """State of a prepared model: its flat forward, its own attention, a forward that was set on the instance before, and whether the
    attention over segments is on."""

    flat_forward: FlatCall
    own_attention: str
    earlier_forward: Any
    on: bool = False


def _state(causal: PreTrainedModel) -> _Flat:
    return vars(causal)["flat"]


def _forward_like(causal: PreTrainedModel) -> Any:
    """A forward with the signature of the model's own, which generate() and the Trainer read."""

    @functools.wraps(type(causal).forward)
    def forward(self: PreTrainedModel, *args: Any, segments: Segments | None = None, **kwargs: Any) -> Any:
        if segments is not None:
            return _state(self).flat_forward(self, segments, **kwargs)
        switch(self, on=False)
        earlier = _state(self).earlier_forward
        if earlier is not None:
            return earlier(*args, **kwargs)
        return type(self).forward(self, *args, **kwargs)

    return forward


def hidden_states(
    causal: PreTrainedModel, segments: Segments, input_ids: torch.Tensor, position_ids: torch.Tensor
) -> torch.Tensor:
    """The backbone's last hidden states of a stream: (T, H)."""
    switch(causal, on=True)
    segments.offsets = segments.offsets.to(input_ids.device)
    return _stream(causal.base_model, segments, input_ids, position_ids)


def _stream(
    backbone: torch.nn.Module, segments: Segments, input_ids: torch.Tensor, position_ids: torch.Tensor
) -> torch.Tensor:
    return backbone(
        input_ids=input_ids, position_ids=position_ids, segments=segments, use_cache=False, return_dict=True
    ).last_hidden_state[0]


def _target_states(
    backbone: torch.nn.Module,
    segments: Segments,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    target_positions: torch.Tensor,
) -> torch.Tensor:
    """The hidden states (K, H) of another backbone at the targets' positions, for a value head with a backbone of its own."""
    return _stream(backbone, segments, input_ids, position_ids).index_select(0, target_positions)


def _flat_forward(
    causal: PreTrainedModel,
    segments: Segments,
    *,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    target_positions: torch.Tensor,
    target_labels: torch.Tensor,
    compute: str = LOSS,
    with_entropy: bool = False,
    temperature: float = 1.0,
    target_weights: torch.Tensor | None = None,
    distill_target: DistillTarget | None = None,
    **unused: Any,
) -> FlatOutput:
    hidden = hidden_states(causal, segments, input_ids, position_ids).index_select(0, target_positions)
    if compute == HIDDEN:
        return FlatOutput(hidden=hidden)
    head = flat_head(causal, temperature)
    if compute == DISTILLED:
        return distill_output(hidden, head, target_labels, distill_target, target_weights)
    assert head.weight is not None
    options: dict[str, Any] = {"bias": head.bias, "transform": head.transform, "with_entropy": with_entropy}
    if compute == LOSS:
        loss, statistics = linear_cross_entropy(
            hidden, head.weight, target_labels, label_weights=target_weights, **options
        )
        return FlatOutput(
            loss=loss, logprobs=statistics.logprobs, correct=statistics.correct, entropy=statistics.entropy
        )
    if compute in (LOGPROBS, VALUES):
        logprobs, statistics = linear_logprobs(hidden, head.weight, target_labels, **options)
        value = None
        if compute == VALUES:
            value = causal.get_submodule(VALUE_HEAD)(
                hidden, lambda backbone: _target_states(backbone, segments, input_ids, position_ids, target_positions)
            )
        return FlatOutput(logprobs=logprobs, correct=statistics.correct, entropy=statistics.entropy, value=value)
    raise ValueError(f"a flat call computes {LOSS}, {LOGPROBS}, {VALUES}, {DISTILLED} or {HIDDEN}, not {compute!r}")


def distill_output(
    hidden: torch.Tensor,
    head: Head,
    labels: torch.Tensor,
    distill_target: DistillTarget | None,
    label_weights: torch.Tensor | None = None,
) -> FlatOutput:
    """The loss with a teacher, and the labels' log-probabilities."""
    assert distill_target is not None, "the batch has no distill_target"
    output = distillation_loss(hidden, head, labels, distill_target, label_weights=label_weights)
    return FlatOutput(loss=output.loss, logprobs=output.logprobs, correct=output.correct, divergence=output.divergence)


def flat_head(causal: PreTrainedModel, temperature: float = 1.0) -> Head:
    """The head of a model of a known architecture."""
    transform = logit_transform(ALLOWED[causal.config.model_type], causal.config)
    return Head(*head_weights(causal.get_output_embeddings()), replace(transform, temperature=temperature))


def head_weights(head: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The head's weight (V, H) and bias (V,), including the tokens that PEFT trains in it.

    Raises ValueError for a head that is more than one matrix: an adapter on it, or quantised weights.
    """
    if getattr(head, "token_adapter", None) is not None and not head.disable_adapters:
        adapter = head.token_adapter
        return adapter.get_merged_weights(adapter.active_adapters), getattr(adapter.get_base_layer(), "bias", None)
    if isinstance(head, BaseTunerLayer):
        raise ValueError(
            "the language model's head carries an adapter, which the tiled head can't train: leave lm_head out"
        )
    weight = head.weight
    if not weight.dtype.is_floating_point:
        raise ValueError(f"the language model's head is quantised ({weight.dtype}): keep it in floating point")
    return weight, getattr(head, "bias", None)
