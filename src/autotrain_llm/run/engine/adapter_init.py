"""How a new adapter begins, where PEFT (0.21) changes the base model for it or reads its files: PiSSA, OLoRA and LoftQ.

PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) begin with a part B0 A0 of each weight W, and train on what is left, W - s B0 A0. What is saved is the change of W itself,
s (B A - B0 A0): an adapter of twice the rank, [A; A0] and [B, -B0], that any program loads onto the original model. Its first half is what training goes on with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file, save_file
from torch import nn

from autotrain_llm.context.output_dir import ADAPTER_WEIGHTS
from autotrain_llm.params.lora import LOFTQ, OF_THE_BASE, OLORA, PISSA

PEFT_NAMES: dict[str | None, Any] = {None: True, LOFTQ: True, PISSA: "pissa_niter_16", OLORA: "olora"}
A, B = ".lora_A.", ".lora_B."
INITIAL = "initial_adapter"  # the attribute of a model with the matrices that it began with


def peft_name(init: str | None) -> Any:
    """PEFT's word for it."""
    return PEFT_NAMES.get(init, init)


def finish_init(model: PeftModel, init: str | None, load_original: Callable[[], nn.Module]) -> None:
    """Do what a new adapter of this kind needs besides its configuration. `load_original` reads the base model's weights before they were quantised."""
    if init == LOFTQ:
        _begin_with_what_was_rounded_away(model, load_original())
    if init in OF_THE_BASE:
        vars(model)[INITIAL] = {name: weight.detach().clone() for name, weight in adapter_weights(model).items()}
        vars(model)["save_pretrained"] = MethodType(_save_change, model)


@torch.no_grad()
def _begin_with_what_was_rounded_away(model: PeftModel, original: nn.Module) -> None:
    """LoftQ (arXiv 2310.08659) with one iteration: s B A is the part of rank r of a weight minus its quantised values that is nearest to it. PEFT has
    it for GPUs only, and without the scale s."""
    weights = {name: module.weight for name, module in original.named_modules() if isinstance(module, nn.Linear)}
    base: Any = model.get_base_model()
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer) and "default" in module.lora_A:
            layer: Any = module
            quantised = dequantize_module_weight(layer.get_base_layer()).float()
            left, sizes, right = torch.linalg.svd(weights[name].to(quantised) - quantised, full_matrices=False)
            rank = layer.r["default"]
            root = (sizes[:rank] / layer.scaling["default"]).sqrt()
            layer.lora_A["default"].weight.copy_(root[:, None] * right[:rank])
            layer.lora_B["default"].weight.copy_(left[:, :rank] * root)


def adapter_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """The weights of an adapter under the names of its file."""
    return dict(get_peft_model_state_dict(model, save_embedding_layers=False))


def load_adapter_weights(model: PeftModel, checkpoint: Path) -> None:
    """Load an adapter's weights from a checkpoint that this model was saved to; they may be those of a change."""
    weights = load_file(checkpoint / ADAPTER_WEIGHTS)
    if INITIAL in vars(model):
        _begin_with(model, {name: _half(name, weight, 1) for name, weight in weights.items()})
        weights = {name: _half(name, weight, 0) for name, weight in weights.items()}
    set_peft_model_state_dict(model, weights)


def write_adapter(config: PeftConfig, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write an adapter whose weights are given under the names of its file, as `save_pretrained` does."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = copy.copy(config)
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _save_change(self: PeftModel, save_directory: str | Path, *arguments: Any, **named: Any) -> None:
    """Takes the place of `save_pretrained`: the change of the original weights as an adapter of twice the rank and the same scale."""
    initial, trained = vars(self)[INITIAL], adapter_weights(self)
    config: Any = copy.deepcopy(self.peft_config["default"])
    config.init_lora_weights = True
    config.r *= 2
    config.lora_alpha *= 2**0.5 if config.use_rslora else 2
    weights = {name: _joined(name, weight.cpu(), initial[name].cpu()) for name, weight in trained.items()}
    write_adapter(config, weights, Path(save_directory))


def _joined(name: str, weight: torch.Tensor, initial: torch.Tensor) -> torch.Tensor:
    if A in name:
        return torch.cat([weight, initial], 0)
    return torch.cat([weight, -initial], 1) if B in name else weight


def _half(name: str, weight: torch.Tensor, index: int) -> torch.Tensor:
    """The trained half (0) of a saved matrix, or the one that it began with (1)."""
    if A in name:
        return weight.chunk(2, 0)[index].contiguous()
    return (weight.chunk(2, 1)[index] * (1 - 2 * index)).contiguous() if B in name else weight


@torch.no_grad()
def _begin_with(model: PeftModel, saved: Mapping[str, torch.Tensor]) -> None:
    """Let the base be what is left after the saved beginning, which another machine may have computed with other rounding."""
    initial = vars(model)[INITIAL]
    for name in (name for name in saved if A in name):
        pair = name, name.replace(A, B)
        if all(torch.equal(initial[key].cpu(), saved[key]) for key in pair):
            continue
        module: Any = model.get_submodule(name.partition(A)[0])
        base, scale = module.get_base_layer().weight, module.scaling["default"]
        before, after = (source[pair[1]].to(base) @ source[pair[0]].to(base) for source in (initial, saved))
        base += scale * (before - after)
        initial |= {key: saved[key].to(initial[key]) for key in pair}
