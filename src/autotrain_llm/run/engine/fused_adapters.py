"""LoRA with fewer operations: one autograd function for the projections of one input (q, k and v), and one for a gated MLP.

PEFT (0.21) computes each adapted matrix by itself: it casts the input to float32 and back, drops values of it anew, and casts A and B. Here the
matrices of one input share its cast, its dropout and the product with their A, and a layer's backward is written out. Whatever this does not
compute (DoRA, several adapters at once, weights in 8 bits, compiled layers) goes to PEFT's own forward, at each call. The modules, their
parameters and what is saved stay PEFT's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaMLP

TOGETHER = ("q_proj", "k_proj", "v_proj")  # they have the same input
GATE, UP, DOWN = "gate_proj", "up_proj", "down_proj"
FUSED = "fused"  # the attribute of a module that has its state here

Activation = Callable[[torch.Tensor], torch.Tensor]
Slope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # from the gradient of its value and its argument
SILU: tuple[Activation, Slope] = functional.silu, torch.ops.aten.silu_backward
ACTIVATIONS: dict[str, tuple[Activation, Slope]] = {
    "SiLU": SILU,
    "SiLUActivation": SILU,
    "GELUTanh": (
        lambda gate: functional.gelu(gate, approximate="tanh"),
        lambda gradient, gate: torch.ops.aten.gelu_backward(gradient, gate, approximate="tanh"),
    ),
}


def fuse_adapters(model: nn.Module) -> int:
    """Let the adapted modules of a model compute together what they can; returns the number of autograd functions of a forward pass.

    Call it before DDP or FSDP wrap the model, and before its layers are compiled.
    """
    count = 0
    for parent in list(model.modules()):
        if _is_gated_mlp(parent):
            _replace_forward(parent, _mlp_forward, True)
            count += 1
            continue
        for names in _groups(parent):
            group = _Group([getattr(parent, name) for name in names])
            for module in group.members:
                _replace_forward(module, _member_forward, group)
            count += 1
    return count


def _groups(parent: nn.Module) -> Iterator[list[str]]:
    """The names of a module's adapted children, those with the same input together."""
    adapted = [name for name, child in parent.named_children() if _can_be_fused(child)]
    together = [name for name in TOGETHER if name in adapted]
    if together:
        yield together
    in_mlp = (GATE, UP, DOWN) if _is_gated_mlp(parent) else ()
    yield from ([name] for name in adapted if name not in together and name not in in_mlp)


def _is_gated_mlp(module: nn.Module) -> bool:
    """Whether it computes what Llama's MLP does, by the same code, with an adapter on each of its matrices."""
    own = type(module).forward.__code__ if hasattr(type(module).forward, "__code__") else None
    llama = LlamaMLP.forward.__code__
    if own is None or (own.co_code, own.co_names) != (llama.co_code, llama.co_names):
        return False
    adapted = all(_can_be_fused(getattr(module, name)) for name in (GATE, UP, DOWN))
    return adapted and type(module.act_fn).__name__ in ACTIVATIONS


def _replace_forward(module: nn.Module, forward: Callable[..., Any], state: Any) -> None:
    """A method of the instance: a copy of the module calls its own."""
    vars(module).update({"forward": MethodType(forward, module), FUSED: state})


def _own_forward(module: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    result: torch.Tensor = type(module).forward(module, *args, **kwargs)
    return result


# --- which adapters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Projection:
    """A frozen matrix W (out, in) with its adapter: x W' + scale · dropout(x) A' B'."""

    base: Any
    a: torch.Tensor
    b: torch.Tensor
    scale: float
    dropout: float

    def weight(self, dtype: torch.dtype) -> torch.Tensor:
        """W in the dtype that is computed in; 4-bit weights are dequantised."""
        weight = self.base.weight
        if _is_packed(self.base):
            from bitsandbytes.functional import dequantize_4bit

            weight = dequantize_4bit(weight.data, self.base.quant_state)
        plain: torch.Tensor = weight.to(dtype)
        return plain


def _is_packed(base: nn.Module) -> bool:
    """Whether its weight is in four bits. The layer keeps the scales; the weight has them too, unless it was gathered from parts (FSDP2)."""
    return hasattr(base, "quant_state")


def _can_be_fused(module: nn.Module) -> bool:
    """Whether this is a frozen matrix with adapters, in floating point or four bits."""
    if not isinstance(module, LoraLayer):
        return False
    base: Any = module.get_base_layer()
    kind = type(base).__name__
    return (type(base) is nn.Linear or kind == "Linear4bit") and not base.weight.requires_grad


def _projection(module: Any) -> _Projection | None:
    """The module's one active adapter; None where PEFT has to compute it."""
    if not _can_be_fused(module) or module.disable_adapters or module.merged:
        return None
    active = [name for name in module.active_adapters if name in module.lora_A]
    if len(active) != 1:
        return None
    name = active[0]
    a, b = module.lora_A[name], module.lora_B[name]
    if name in module.lora_variant or b.bias is not None or type(a) is not nn.Linear:
        return None
    dropout = module.lora_dropout[name]
    rate = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    return _Projection(module.get_base_layer(), a.weight, b.weight, module.scaling[name], rate)


def _computing_dtype(x: torch.Tensor, projections: Sequence[_Projection]) -> torch.dtype | None:
    """The dtype that these matrices are computed in; None where PEFT has to."""
    device = x.device.type
    dtype = x.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    for projection in projections:
        base = projection.base
        if _is_packed(base):
            if base.compute_dtype != dtype:
                return None
        elif dtype == x.dtype and base.weight.is_floating_point() and base.weight.dtype != dtype:
            return None
    return dtype


def _projections_of(x: torch.Tensor, modules: Sequence[nn.Module]) -> tuple[list[_Projection], torch.dtype] | None:
    """The adapters of modules with the same input, and their dtype; None where PEFT has to compute them."""
    projections = [_projection(module) for module in modules]
    if any(projection is None or projection.dropout != projections[0].dropout for projection in projections):  # type: ignore[union-attr]
        return None
    found = [projection for projection in projections if projection is not None]
    dtype = _computing_dtype(x, found)
    return (found, dtype) if dtype is not None else None


# --- the products -----------------------------------------------------------------------------------------------------


class _Matrices:
    """A and B of projections with one input, in the dtype that is computed in: the A one below the other, (R, in)."""

    def __init__(self, projections: Sequence[_Projection], storage: torch.Tensor) -> None:
        self.ranks = [projection.a.shape[0] for projection in projections]
        inputs = projections[0].a.shape[1]
        values = sum(self.ranks) * inputs
        self.a = storage[:values].view(-1, inputs)
        self.b: list[torch.Tensor] = []
        for projection in projections:
            count = projection.b.numel()
            self.b.append(storage[values : values + count].view(projection.b.shape))
            values += count

    def parts(self) -> list[torch.Tensor]:
        """A and B of each projection, in the order in which an autograd function takes them."""
        return [matrix for pair in zip(self.a.split(self.ranks), self.b, strict=True) for matrix in pair]

    @staticmethod
    def size(projections: Sequence[_Projection]) -> int:
        return sum(projection.a.numel() + projection.b.numel() for projection in projections)

    @property
    def columns(self) -> list[slice]:
        """Where each projection's values lie among the R products with A."""
        starts = [sum(self.ranks[:index]) for index in range(len(self.ranks))]
        return [slice(start, start + rank) for start, rank in zip(starts, self.ranks, strict=True)]


def _copied(
    groups: Sequence[Sequence[_Projection]], like: torch.Tensor, source: Sequence[torch.Tensor]
) -> torch.Tensor:
    """All A and B in one tensor of the dtype of `like`, by one operation."""
    storage = like.new_empty(sum(_Matrices.size(group) for group in groups))
    torch._foreach_copy_([part for matrices in _divided(groups, storage) for part in matrices.parts()], list(source))
    return storage


def _divided(groups: Sequence[Sequence[_Projection]], storage: torch.Tensor) -> list[_Matrices]:
    sizes = [_Matrices.size(group) for group in groups]
    return [_Matrices(group, part) for group, part in zip(groups, storage.split(sizes), strict=True)]


def _project(
    x: torch.Tensor, projections: Sequence[_Projection], matrices: _Matrices
) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """The outputs for x (T, in), and what the backward pass needs: x after dropout, the mask and the products with A (T, R)."""
    rate = projections[0].dropout
    dropped, mask = torch.native_dropout(x, rate, True) if rate else (x, None)
    low = dropped @ matrices.a.T
    outputs = []
    for projection, b, columns in zip(projections, matrices.b, matrices.columns, strict=True):
        weight, bias = projection.weight(x.dtype), projection.base.bias
        output = x @ weight.T if bias is None else torch.addmm(bias.to(x.dtype), x, weight.T)
        outputs.append(output.addmm_(low[:, columns], b.T, alpha=projection.scale))
    return outputs, [dropped, mask, low]


def _project_backward(
    gradients: Sequence[torch.Tensor],
    projections: Sequence[_Projection],
    matrices: _Matrices,
    kept: Sequence[torch.Tensor | None],
    into: _Matrices | None,
    *,
    needs_x: bool,
) -> torch.Tensor | None:
    """The gradient of x; those of A and B are written `into` place, unless they are frozen."""
    dropped, mask, low = kept
    assert dropped is not None and low is not None
    low_gradient = torch.empty_like(low)
    for index, (projection, columns) in enumerate(zip(projections, matrices.columns, strict=True)):
        part, own = gradients[index], low_gradient[:, columns]
        torch.addmm(own, part, matrices.b[index], beta=0, alpha=projection.scale, out=own)
        if into is not None:
            total = into.b[index]
            torch.addmm(total, part.T, low[:, columns], beta=0, alpha=projection.scale, out=total)
    if into is not None:
        torch.mm(low_gradient.T, dropped, out=into.a)
    if not needs_x:
        return None
    x_gradient = gradients[0] @ projections[0].weight(low.dtype)
    for part, projection in zip(gradients[1:], projections[1:], strict=True):
        x_gradient.addmm_(part, projection.weight(low.dtype))
    if mask is None:
        return x_gradient.addmm_(low_gradient, matrices.a)
    return x_gradient.addcmul_(low_gradient @ matrices.a, mask, value=1 / (1 - projections[0].dropout))


def _in_dtypes_of(
    groups: Sequence[Sequence[_Projection]], storage: torch.Tensor | None, parameters: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """The gradients of A and B, each in the dtype of its parameter; None for frozen ones."""
    if storage is None:
        return [None] * len(parameters)
    parts = [part for matrices in _divided(groups, storage) for part in matrices.parts()]
    if all(parameter.dtype == storage.dtype for parameter in parameters):
        return list(parts)
    cast = [torch.empty_like(parameter) for parameter in parameters]
    torch._foreach_copy_(cast, parts)
    return list(cast)


class _Projections(torch.autograd.Function):
    """Several matrices with adapters that have the same input."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, projections: list[_Projection], dtype: torch.dtype, *parameters: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):
            flat = x.reshape(-1, x.shape[-1]).to(dtype)
            storage = _copied([projections], flat, parameters)
            outputs, kept = _project(flat, projections, _Matrices(projections, storage))
        ctx.save_for_backward(storage, *kept)
        ctx.projections = projections
        return tuple(output.view(*x.shape[:-1], -1) for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        storage, *kept = ctx.saved_tensors
        projections = ctx.projections
        parts = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]
        own = torch.empty_like(storage) if any(ctx.needs_input_grad[3:]) else None
        x_gradient = _project_backward(
            parts,
            projections,
            _Matrices(projections, storage),
            kept,
            None if own is None else _Matrices(projections, own),
            needs_x=ctx.needs_input_grad[0],
        )
        if x_gradient is not None:
            x_gradient = x_gradient.view(*gradients[0].shape[:-1], -1)
        parameters = _parameters(projections)
        return x_gradient, None, None, *_in_dtypes_of([projections], own, parameters)


class _GatedMlp(torch.autograd.Function):
    """down(activation(gate(x)) · up(x)), each matrix with an adapter."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        groups: list[list[_Projection]],
        activation: tuple[Activation, Slope],
        dtype: torch.dtype,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            flat = x.reshape(-1, x.shape[-1]).to(dtype)
            storage = _copied(groups, flat, parameters)
            inner, outer = _divided(groups, storage)
            (gate, up), kept = _project(flat, groups[0], inner)
            (output,), kept_outer = _project(activation[0](gate).mul_(up), groups[1], outer)
        ctx.save_for_backward(storage, gate, up, *kept, *kept_outer)
        ctx.groups, ctx.slope, ctx.activation = groups, activation[1], activation[0]
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        storage, gate, up, *kept = ctx.saved_tensors
        groups = ctx.groups
        inner, outer = _divided(groups, storage)
        own = torch.empty_like(storage) if any(ctx.needs_input_grad[4:]) else None
        own_inner, own_outer = (None, None) if own is None else _divided(groups, own)
        part = gradient.reshape(-1, gradient.shape[-1])
        product = _project_backward([part], groups[1], outer, kept[3:], own_outer, needs_x=True)
        assert product is not None
        up_gradient = ctx.activation(gate).mul_(product)
        gate_gradient = ctx.slope(product.mul_(up), gate)
        x_gradient = _project_backward(
            [gate_gradient, up_gradient], groups[0], inner, kept[:3], own_inner, needs_x=ctx.needs_input_grad[0]
        )
        if x_gradient is not None:
            x_gradient = x_gradient.view(*gradient.shape[:-1], -1)
        parameters = [matrix for group in groups for matrix in _parameters(group)]
        return x_gradient, None, None, None, *_in_dtypes_of(groups, own, parameters)


def _parameters(projections: Sequence[_Projection]) -> list[torch.Tensor]:
    return [matrix for projection in projections for matrix in (projection.a, projection.b)]


# --- the modules ------------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """Modules that are called with the same input, one after the other: the first call computes the outputs of all."""

    members: list[nn.Module]
    outputs: dict[int, torch.Tensor] = field(default_factory=dict)
    x: torch.Tensor | None = None
    differ: bool = False

    def output_of(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        """The module's output; None where PEFT has to compute it."""
        index = next(index for index, member in enumerate(self.members) if member is module)
        if self.x is x and index in self.outputs:
            output = self.outputs.pop(index)
            self.x = x if self.outputs else None
            return output
        # Members that were called with another input: no model of the flat layout does that, and from then on each is computed by itself.
        self.differ = self.differ or bool(self.outputs)
        self.outputs, self.x = {}, None
        members = [index] if self.differ else range(len(self.members))
        found = _projections_of(x, [self.members[member] for member in members])
        if found is None:
            return None
        projections, dtype = found
        outputs = dict(zip(members, _Projections.apply(x, projections, dtype, *_parameters(projections)), strict=True))
        output = outputs.pop(index)
        self.outputs, self.x = outputs, x if outputs else None
        return output


def _member_forward(module: nn.Module, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if torch.compiler.is_compiling():
        return _own_forward(module, x, *args, **kwargs)
    group: _Group = vars(module)[FUSED]
    output = None if args or kwargs else group.output_of(module, x)
    return _own_forward(module, x, *args, **kwargs) if output is None else output


def _mlp_forward(module: Any, x: torch.Tensor) -> torch.Tensor:
    if torch.compiler.is_compiling():
        return _own_forward(module, x)
    inner = _projections_of(x, [module.gate_proj, module.up_proj])
    outer = _projections_of(x, [module.down_proj])
    if inner is None or outer is None:
        return _own_forward(module, x)
    groups = [inner[0], outer[0]]
    parameters = [*_parameters(groups[0]), *_parameters(groups[1])]
    activation = ACTIVATIONS[type(module.act_fn).__name__]
    output: torch.Tensor = _GatedMlp.apply(x, groups, activation, inner[1], *parameters)
    return output
