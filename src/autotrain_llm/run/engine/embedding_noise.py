"""NEFTune (Jain et al., arXiv 2310.05914): uniform noise on the embedded tokens while a model is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from autotrain_llm.run.engine.flat.model import causal_model


def add_embedding_noise(model: nn.Module, alpha: float) -> None:
    """Add noise of alpha / sqrt(L d) to the embeddings of every row of L tokens with d values each, in training mode.

    L is a row's own length: in a stream of rows, whose positions begin anew with each, and in padded rows, whose attention mask says it. The noise
    is drawn from torch's random numbers, which a checkpoint has, and is no part of the model.
    """
    causal = causal_model(model)
    noise = _Noise(alpha)
    causal.base_model.register_forward_pre_hook(noise.see_rows, with_kwargs=True)
    causal.get_input_embeddings().register_forward_hook(noise.add)


class _Noise:
    """The hooks of a model: the first sees its rows, the second its embedded tokens."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.lengths: torch.Tensor | None = None

    def see_rows(self, backbone: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.lengths = lengths_of_rows(named.get("position_ids"), named.get("attention_mask"))

    def add(self, embedding: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        lengths, self.lengths = self.lengths, None
        if not (embedding.training and torch.is_grad_enabled()):
            return output
        if lengths is None:
            lengths = torch.full(output.shape[:-1], output.shape[-2], device=output.device)
        size = self.alpha / (lengths * output.shape[-1]).float().sqrt()
        noise = torch.empty_like(output, dtype=torch.float32).uniform_(-1, 1)
        return output + (noise * size[..., None]).to(output.dtype)


def lengths_of_rows(position_ids: torch.Tensor | None, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """For each token of a batch (B, T) the length of its row; None if neither says. No value leaves the device."""
    if position_ids is not None:
        rows = (position_ids == 0).cumsum(-1)  # from 1 in each stream
        counts = torch.zeros(rows.shape[0], rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
        return counts.scatter_add_(1, rows, torch.ones_like(rows)).gather(1, rows)
    if attention_mask is not None and attention_mask.ndim == 2:
        return attention_mask.sum(-1, keepdim=True).expand_as(attention_mask)
    return None
