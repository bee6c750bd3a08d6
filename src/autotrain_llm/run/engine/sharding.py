"""FSDP2: divide a model among the processes, and put its parts together again.

The division itself is torch's (2.13, `fully_shard`), which changes a model in place. transformers' Trainer and accelerate know of it by their FSDP
plugin, and leave a model alone that is divided already: theirs gathers a head only when it is called, rounds log-probabilities and gradients to half
precision, and divides a model when training starts, after its reference was computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.fsdp_utils import enable_fsdp_ram_efficient_loading
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from autotrain_llm.context.environment import environment
from autotrain_llm.planning.plan import Plan
from autotrain_llm.run.engine.flat.model import SCORE_HEADS, VALUE_HEAD, causal_model, decoder_layers

READ_BY_TRANSFORMERS = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")


def shard(model: nn.Module, accelerator: Accelerator, shards: int) -> nn.Module:
    """Divide a model, trained or frozen, into `shards` parts; returns the same model, on this process's device, with the first one's weights.

    With fewer parts than processes, as many processes as there are parts, of ranks that follow one another, have a copy together.

    Weights are gathered in the dtype that is computed in, gradients are summed in float32, and outputs keep the dtype that they were computed
    in. Parts lie in main memory if accelerate's plugin says so. Each decoder layer is a group, gathered before its forward and backward and freed after them. The rest, embedding and head, is one group
    and stays until the end of the backward pass: the tiled head reads its weights without calling the module.
    """
    copies = accelerator.num_processes // shards
    sizes, names = ((shards,), ("part",)) if copies == 1 else ((copies, shards), ("copy", "part"))
    mesh = init_device_mesh(accelerator.device.type, sizes, mesh_dim_names=names)
    computed = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    policy = MixedPrecisionPolicy(param_dtype=computed, reduce_dtype=torch.float32)
    offload = accelerator.state.fsdp_plugin.cpu_offload
    place = torch.device("cpu") if isinstance(offload, CPUOffloadPolicy) else accelerator.device
    weights = _without_storage(model)
    _place_buffers(model, accelerator.device)
    _place_scales(model, accelerator.device)
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy, offload_policy=offload)
    for module in _exact_heads(model):
        exact = MixedPrecisionPolicy(torch.float32, torch.float32)
        fully_shard(module, mesh=mesh, mp_policy=exact, offload_policy=offload)
    fully_shard(model, mesh=mesh, mp_policy=policy, offload_policy=offload)
    parts = {}
    for name, parameter in model.named_parameters():
        loaded = weights.pop(name)
        full = loaded if accelerator.is_main_process else None
        parts[id(parameter)] = _part_of_the_first(full, parameter, accelerator.device, place)
    _replace_parameters(model, parts.__getitem__)
    return model


def _exact_heads(model: nn.Module) -> Iterator[nn.Module]:
    """The heads of scores and values: in half precision two scores would be rounded to the same value."""
    for name, module in causal_model(model).named_children():
        if name in SCORE_HEADS:
            yield module
        elif name == VALUE_HEAD:  # beside which a backbone may lie
            yield module.get_submodule("linear")


def _without_storage(model: nn.Module) -> dict[str, torch.Tensor]:
    """Give a model parameters without storage; returns its weights by name."""
    weights: dict[str, torch.Tensor] = {}
    stand_ins: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        stand_in = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
        stand_ins[id(parameter)], weights[name] = stand_in, parameter.detach()
    _replace_parameters(model, stand_ins.__getitem__)
    return weights


@contextmanager
def first_process_loads(plan: Plan, *, quantised: bool = False) -> Iterator[None]:
    """Weights of a model that is going to be divided are read by the first process of each machine inside the context; the others get a model
    without storage, and their parts when it is divided. Each process reads the model if the padded layout tries it before that, and if it is
    quantised: the scales of the blocks are no weights, and each process keeps all of them."""
    if not plan.is_sharded or plan.layout.name == "padded" or quantised:
        yield
        return
    with environment({name: os.environ.get(name) for name in READ_BY_TRANSFORMERS}):
        enable_fsdp_ram_efficient_loading()
        yield


def _replace_parameters(model: nn.Module, other: Callable[[int], nn.Parameter]) -> None:
    """Replace each parameter by another, which `other` gives for its identity; tied ones stay tied."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = other(id(parameter))


def _place_buffers(model: nn.Module, device: torch.device) -> None:
    """Move the buffers to the device, with the values of the first process: another may have loaded nothing."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                placed = torch.zeros_like(buffer, device=device) if buffer.is_meta else buffer.to(device)
                torch.distributed.broadcast(placed, src=0)
                module._buffers[name] = placed


def _place_scales(model: nn.Module, device: torch.device) -> None:
    """Move the scales of 4-bit weights, which bitsandbytes' layers keep beside their parameters, to the device."""
    for module in model.modules():
        scales = getattr(module, "quant_state", None)
        if scales is not None:
            scales.to(device)


def _part_of_the_first(
    full: torch.Tensor | None, parameter: nn.Parameter, device: torch.device, place: torch.device
) -> nn.Parameter:
    """This process's part of a weight of the first process, which has it as `full`; divided on the device as `parameter` is, and kept at `place`."""
    assert isinstance(parameter, DTensor)
    if full is None:
        full = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    full = full.to(device).contiguous()
    torch.distributed.broadcast(full, src=0)
    part = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
    # A copy: the part of the whole tensor would keep all of it.
    return nn.Parameter(part.clone().to(place), requires_grad=parameter.requires_grad)


def is_sharded(model: nn.Module) -> bool:
    """Whether each process has only a part of the model; it is gathered when it is called."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with the parts of all processes, which all have to call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process has of a tensor; it may have no elements."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fill(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copy a whole tensor into a tensor of which this process may have a part only."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            own = source.to(device=target.to_local().device, dtype=target.dtype)
            target.copy_(distribute_tensor(own, target.device_mesh, target.placements, src_data_rank=None))
        else:
            target.copy_(source)


def like(whole_tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor of a parameter's shape, divided as the parameter is; one that is divided already stays."""
    if not isinstance(parameter, DTensor) or isinstance(whole_tensor, DTensor) or whole_tensor.shape != parameter.shape:
        return whole_tensor
    place = parameter.to_local().device
    own = whole_tensor.to(place)
    return distribute_tensor(own, parameter.device_mesh, parameter.placements, src_data_rank=None).clone().to(place)


def reshard(model: nn.Module) -> None:
    """Free what is gathered, so that the next call gathers the weights as they are now."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def gathered(*models: nn.Module) -> Iterator[None]:
    """All weights in every process, for forward passes without gradients whose number differs between processes: none waits for another.

    Where contexts are nested, the end of the inner one frees the weights. Nothing happens to models that are not divided.
    """
    groups = [module for model in models for module in model.modules() if isinstance(module, FSDPModule)]
    for model in models:
        if isinstance(model, FSDPModule):
            model._get_fsdp_state()._lazy_init()  # as its first forward does
    # There is no public way to read what `set_reshard_after_forward` sets.
    frees = {group: group.post_forward_mesh_info for at in groups for group in at._get_fsdp_state()._fsdp_param_groups}
    for module in groups:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for model in models:
            if isinstance(model, FSDPModule):
                # Frees the weights, and forgets in what order they were used: by it the next backward pass would gather ahead, in each process another.
                model.reset_iter_state()
        for group, mesh in frees.items():
            group.post_forward_mesh_info = mesh


def collect(
    model: nn.Module,
    dtype: torch.dtype | None,
    *,
    keeps: bool,
    trained_only: bool,
    before_rounding: Callable[[str, torch.Tensor], None] | None = None,
) -> None:
    """End the division of a finished model: its weights, or only the trained ones and the embeddings, whole and on the processor where `keeps`
    is set, in this dtype (None: their own); `before_rounding` is called with the name and value of each weight before. All processes have to call it; the
    model can then be saved and not be called any more."""
    reshard(model)
    embeddings = {id(weight) for weight in _embeddings(model)}
    collected: dict[int, nn.Parameter] = {}  # tied weights stay tied
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if not isinstance(parameter, DTensor):
                continue
            if trained_only and not parameter.requires_grad and id(parameter) not in embeddings:
                continue
            if id(parameter) not in collected:
                divided: Any = parameter.detach()
                full: torch.Tensor = divided.full_tensor()
                if keeps and before_rounding is not None and dtype is not None:
                    before_rounding(f"{path}.{name}" if path else name, full)
                own = full.to("cpu", dtype if full.is_floating_point() else None) if keeps else full[:0]
                collected[id(parameter)] = nn.Parameter(own, requires_grad=parameter.requires_grad)
            if keeps:
                module._parameters[name] = collected[id(parameter)]
    if keeps:
        for module in model.modules():
            if isinstance(module, FSDPModule):  # whose `to` expects its parts
                module.__class__ = type(module).__mro__[FSDPModule._orig_cls_mro_index]


def _embeddings(model: nn.Module) -> list[torch.Tensor]:
    """The weights of embedding and head, which PEFT may save with an adapter."""
    found: Any = model
    modules = [found.get_input_embeddings(), found.get_output_embeddings()]
    return [module.weight for module in modules if module is not None and hasattr(module, "weight")]
