"""The loss that balances the routers of a mixture of experts, where its config.json makes it part of the loss (output_router_logits)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PretrainedConfig

COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")


def router_weight(config: PretrainedConfig) -> float:
    """The weight of the balancing loss; 0 if the model leaves it out."""
    text: Any = config.get_text_config()
    if not getattr(text, "output_router_logits", False):
        return 0.0
    inner = getattr(getattr(text, "ffn_config", None), "moe_loss_weight", None)  # DBRX
    return float(next((getattr(text, name) for name in COEFFICIENTS if hasattr(text, name)), inner) or 0.0)


def router_loss(outputs: Any) -> torch.Tensor | None:
    """The balancing loss, without its weight, that a model's own forward returned."""
    loss = getattr(outputs, "aux_loss", None)
    return loss if isinstance(loss, torch.Tensor) else None
