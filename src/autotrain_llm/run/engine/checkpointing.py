"""Gradient checkpointing: what a decoder layer saves for its backward pass, where it lies, and what is computed again.

`full` saves a layer's input and computes the rest again. `selective` saves the results of its matrix products and of its attention too, by torch's
selective checkpointing (2.13, `create_selective_checkpoint_contexts`), and computes again what costs little: norms, rotary positions, activation
functions, casts. `offload` is `full` with the inputs in main memory while a GPU computes other layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointPolicy, SelectiveCheckpointContext, create_selective_checkpoint_contexts

from autotrain_llm.params.precision import OFFLOAD, SELECTIVE

PRODUCTS = ("mm", "addmm")
ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_flash_attention_forward",
    "_flash_attn_varlen_forward",  # of flash_attn
    "_varlen_attn",  # of torch.nn.attention.varlen
)
WHERE = "_gradient_checkpointing_func"  # the attribute of transformers' layers with the function that checkpoints them


def checkpoint_layers(model: Any, kind: str | None = None, rank: int = 0) -> None:
    """Checkpoint the layers of a transformers model: in full, or as `kind` says. `rank` is that of its adapter: products with A and B, which cost little,
    are computed again."""
    settings: dict[str, Any] = {"use_reentrant": False}
    if kind == SELECTIVE:
        settings["context_fn"] = partial(create_selective_checkpoint_contexts, partial(policy, rank))
    model.gradient_checkpointing_enable(settings)
    if kind == OFFLOAD:
        for module in model.modules():
            if WHERE in vars(module):
                vars(module)[WHERE] = partial(_with_inputs_in_main_memory, vars(module)[WHERE])


def policy(
    rank: int, context: SelectiveCheckpointContext, operation: Any, *args: Any, **kwargs: Any
) -> CheckpointPolicy:
    """Whether the result of an operation is saved."""
    name = operation._schema.name.partition("::")[2]
    if operation._overloadname == "default" and name in PRODUCTS:
        is_saved = min(args[-1].shape) > rank
    else:
        is_saved = name in ATTENTION
    return CheckpointPolicy.MUST_SAVE if is_saved else CheckpointPolicy.PREFER_RECOMPUTE


def _with_inputs_in_main_memory(checkpoint: Callable[..., Any], layer: Callable[..., Any], *args: Any) -> Any:
    """Only the inputs meet these hooks: what the layer saves meets those of the checkpoint."""
    with saved_tensors_hooks(to_main_memory, from_main_memory):
        return checkpoint(layer, *args)


def to_main_memory(tensor: torch.Tensor) -> tuple[torch.device, torch.Tensor]:
    """A copy in main memory and the device that it came from. A GPU's is pinned and made without waiting: what the GPU is told to compute afterwards,
    also in memory that this frees, it computes after the copy."""
    if tensor.device.type != "cuda":
        return tensor.device, tensor.clone()
    packed = torch.empty(tensor.size(), dtype=tensor.dtype, layout=tensor.layout, pin_memory=True)
    return tensor.device, packed.copy_(tensor, non_blocking=True)


def from_main_memory(packed: tuple[torch.device, torch.Tensor]) -> torch.Tensor:
    device, tensor = packed
    return tensor.to(device, non_blocking=True)
