"""Switch off what is random in a forward pass in training mode: dropout, as modules or as function calls, layer dropout, and a router's jitter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PretrainedConfig

RATE = re.compile(r"drop|jitter", re.IGNORECASE)
OF_ADAPTERS = "lora_dropout"
MODULES = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def without_dropout(model: nn.Module, *, of_adapters: bool = False) -> None:
    """Set every rate of the model to zero, so that policy and reference differ only by training; an adapter's dropout only with `of_adapters`.

    Forward passes read a rate from a Dropout module, from an attribute of theirs or from the config. The modules stay in training mode, which
    gradient checkpointing needs. The config is saved as it was loaded (`loading.keep_config`).
    """
    for name, module in model.named_modules():
        if OF_ADAPTERS in name and not of_adapters:
            continue
        if isinstance(module, MODULES):
            module.p = 0.0
        for owner in (module, *_configs(getattr(module, "config", None))):
            for attribute, value in list(vars(owner).items()):
                if isinstance(value, float) and RATE.search(attribute):
                    setattr(owner, attribute, 0.0)


def _configs(config: Any) -> Iterator[PretrainedConfig]:
    """A config and those inside it."""
    if isinstance(config, PretrainedConfig):
        yield config
        for value in vars(config).values():
            yield from _configs(value)
