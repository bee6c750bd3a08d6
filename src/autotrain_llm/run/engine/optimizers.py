"""The optimizers that transformers does not make: Muon, AdamW with states in bfloat16, schedule-free AdamW, GaLore.

Each takes groups of parameters as transformers' Trainer makes them: those that weight decay applies to, and the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from transformers import TrainingArguments

from autotrain_llm.planning.plan import OptimizerPlan

DECAYED = "decayed"  # the key of a group whose weights decay
FAST = "fast"  # the key of a group with the higher rate of LoRA+
OF_A_LAYER = re.compile(r"\.\d+\.")  # of the name of a weight: layers are numbered, embeddings and heads are not
GALORE_SCALE = 0.25  # of the projected update, as in the paper's experiments
MUON_MOMENTUM = 0.95

Groups = list[dict[str, Any]]


def make_optimizer(
    plan: OptimizerPlan, model: nn.Module, arguments: TrainingArguments, decayed: Collection[str]
) -> Optimizer:
    """The planned optimizer for the trainable parameters of a model; weight decay applies to those named in `decayed`."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    betas, eps = (arguments.adam_beta1, arguments.adam_beta2), arguments.adam_epsilon
    adam: dict[str, Any] = {"lr": arguments.learning_rate, "betas": betas, "eps": eps}

    def groups(parameters: Mapping[str, nn.Parameter], **settings: Any) -> Groups:
        """These parameters in two groups, of those that decay and those that don't; a group without parameters is left out."""
        both = [
            {
                "params": [parameter for name, parameter in parameters.items() if (name in decayed) == decays],
                "weight_decay": arguments.weight_decay if decays else 0.0,
                DECAYED: decays,
                **settings,
            }
            for decays in (True, False)
        ]
        return [group for group in both if group["params"]]

    return MAKERS[plan.name](trained, groups, adam, plan.settings)


def _muon(
    trained: Mapping[str, nn.Parameter], groups: Callable[..., Groups], adam: dict[str, Any], settings: Any
) -> Optimizer:
    """Muon for the matrices of the layers, AdamW for everything else (Jordan et al., 2024). Its updates have the size of AdamW's, so that one
    learning rate serves both (Liu et al., arXiv 2502.16982)."""
    hidden, others = _matrices_of_layers(trained)
    optimizers: list[Optimizer] = []
    if hidden:
        options: dict[str, Any] = {"momentum": MUON_MOMENTUM, "nesterov": True, "adjust_lr_fn": "match_rms_adamw"}
        optimizers.append(Muon(groups(hidden), lr=adam["lr"], weight_decay=0.0, **options))
    if others:
        optimizers.append(AdamW(groups(others), **adam))
    return Together(optimizers, adam["lr"])


def _adamw_bf16(
    trained: Mapping[str, nn.Parameter], groups: Callable[..., Groups], adam: dict[str, Any], settings: Any
) -> Optimizer:
    return HalfStateAdamW(groups(trained), **adam)


def _schedule_free(
    trained: Mapping[str, nn.Parameter], groups: Callable[..., Groups], adam: dict[str, Any], settings: Any
) -> Optimizer:
    """Schedule-free AdamW of the package of its authors (Defazio et al., arXiv 2405.15682). The warm-up is that of the schedule."""
    from schedulefree import AdamWScheduleFree

    optimizer: Optimizer = AdamWScheduleFree(groups(trained), warmup_steps=0, **adam)
    return optimizer


def _galore(
    trained: Mapping[str, nn.Parameter],
    groups: Callable[..., Groups],
    adam: dict[str, Any],
    settings: Mapping[str, Any],
) -> Optimizer:
    """AdamW on gradients of the layers' matrices that are projected to a low rank (Zhao et al., arXiv 2403.03507). A matrix without so many rows and
    columns is not projected."""
    from autotrain_llm.run.engine.galore import PlainGaLore

    matrices, others = _matrices_of_layers(trained)
    projected = {name: matrix for name, matrix in matrices.items() if min(matrix.shape) > settings["rank"]}
    others = {name: parameter for name, parameter in trained.items() if name not in projected}
    projection = {"rank": settings["rank"], "update_proj_gap": settings["update_steps"]}
    projection |= {"scale": GALORE_SCALE, "projection_type": "std"}
    return PlainGaLore(groups(projected, **projection) + groups(others), **adam)


MAKERS: dict[str, Callable[..., Optimizer]] = {
    "muon": _muon,
    "adamw_bf16": _adamw_bf16,
    "schedule_free_adamw": _schedule_free,
    "galore_adamw": _galore,
}


def _matrices_of_layers(
    trained: Mapping[str, nn.Parameter],
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The weights of two dimensions in the numbered layers, and all others."""
    hidden = {
        name: weight for name, weight in trained.items() if weight.ndim == 2 and OF_A_LAYER.search(name) is not None
    }
    return hidden, {name: weight for name, weight in trained.items() if name not in hidden}


def raise_rates(optimizer: Optimizer, model: nn.Module, ratio: float) -> None:
    """LoRA+ (Hayou et al., arXiv 2402.12354): the adapter's B matrices learn `ratio` times as fast as everything else, in groups of their own."""
    fast = {id(parameter) for name, parameter in model.named_parameters() if ".lora_B." in name}
    parts = optimizer.optimizers if isinstance(optimizer, Together) else [optimizer]
    for part in parts:
        for number, group in enumerate(part.param_groups):
            group.setdefault(DECAYED, number == 0)  # as transformers makes them
        part.param_groups[:] = [half for group in part.param_groups for half in _by_rate(group, fast, ratio)]
    if isinstance(optimizer, Together):
        optimizer.gather()


def _by_rate(group: dict[str, Any], fast: Collection[int], ratio: float) -> Groups:
    """A group as two, with the usual and the higher rate; one without parameters is left out."""
    both = [
        {
            **group,
            "params": [parameter for parameter in group["params"] if (id(parameter) in fast) == is_fast],
            "lr": group["lr"] * (ratio if is_fast else 1),
            FAST: is_fast,
        }
        for is_fast in (False, True)
    ]
    return [half for half in both if half["params"]]


def use_averaged_weights(optimizer: Any) -> None:
    """Give the model the weights that are evaluated and saved, where an optimizer trains others: a schedule-free one."""
    if callable(getattr(optimizer, "eval", None)):
        optimizer.eval()


def use_training_weights(optimizer: Any) -> None:
    """Give the model the weights that gradients are computed at, where an optimizer has others."""
    if callable(getattr(optimizer, "train", None)):
        optimizer.train()


class Together(Optimizer):
    """Several optimizers as one: each steps its own groups, and all share one state and one list of groups."""

    def __init__(self, optimizers: Sequence[Optimizer], lr: float) -> None:
        self.optimizers = list(optimizers)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        super().__init__(groups, {"lr": lr})
        self.gather()

    def gather(self) -> None:
        """Take over the groups of the optimizers."""
        self.counts = [len(optimizer.param_groups) for optimizer in self.optimizers]
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self._share()

    def _share(self) -> None:
        """Let the optimizers see the groups and states of this one, which loading a state replaces."""
        begin = 0
        for optimizer, count in zip(self.optimizers, self.counts, strict=True):
            optimizer.param_groups = self.param_groups[begin : begin + count]
            optimizer.state = self.state
            begin += count

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure is not None else None
        for optimizer in self.optimizers:
            optimizer.step()
        return loss


class HalfStateAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) that keeps its two moments in bfloat16, and computes in float32.

    The moments are rounded stochastically: up or down with the probability that makes the mean exact. Rounded to the nearest, a second moment
    would stop to fall: 0.999 times a bfloat16 number is the same number. The random numbers follow from the number of the step, so that all processes round alike
    and a resumed run goes on as it would have.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float], eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure is not None else None
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group, number)
        return loss

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.bfloat16)
        state["step"] += 1
        (beta1, beta2), step = group["betas"], state["step"]
        gradient = gradient.float()
        mean = state["exp_avg"].float().lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].float().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        generator = torch.Generator(parameter.device).manual_seed((step << 24) + number)
        state["exp_avg"].copy_(rounded(mean, generator))
        state["exp_avg_sq"].copy_(rounded(square, generator))
        size = square.div_(1 - beta2**step).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(mean, size, value=-group["lr"] / (1 - beta1**step))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():  # which torch gives the dtype of the parameters
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name].to(torch.bfloat16)


def rounded(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A float32 tensor in bfloat16, rounded up or down at random, so that the expected value is exact.

    bfloat16 is the upper half of a float32's bits: a random number is added to the lower half, which is then cut off.
    """
    noise = torch.randint(0, 1 << 16, value.shape, dtype=torch.int32, device=value.device, generator=generator)
    bits = value.contiguous().view(torch.int32) + noise
    return (bits & -(1 << 16)).view(torch.float32).to(torch.bfloat16)
