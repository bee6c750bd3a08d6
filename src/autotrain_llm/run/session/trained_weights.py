"""Assert that a run trains what its plan says: the weights that are trainable, and that they change."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from autotrain_llm.declare.text import plural
from autotrain_llm.run.engine.flat.model import VALUE_HEAD, causal_model
from autotrain_llm.run.engine.sharding import own_part
from autotrain_llm.run.failures import RunFailed

CHANCES = 3  # steps that must have changed a weight; momentum may by chance cancel one of them
UPDATE_SHARE = 0.01  # of lr * min(1, |gradient|), which every optimizer changes a weight by at least
MOST_NAMED = 3


def trainable_names(model: nn.Module) -> set[str]:
    """The parameters that have to be trained: with an adapter those that are saved with it, else all but those that the architecture freezes."""
    parameters = {name: parameter for name, parameter in model.named_parameters() if VALUE_HEAD not in name.split(".")}
    if isinstance(model, PeftModel):
        variables = model.state_dict(keep_vars=True)
        of_adapter = get_peft_model_state_dict(model, state_dict=variables, save_embedding_layers=False)
        saved = {id(parameter) for parameter in of_adapter.values()}
        return {name for name, parameter in parameters.items() if id(parameter) in saved}
    trainable = {name for name, parameter in parameters.items() if parameter.is_floating_point()}
    if all(parameters[name].requires_grad for name in trainable):
        return trainable
    causal = causal_model(model)
    with torch.device("meta"):
        untouched: Any = type(causal)(causal.config)
    return trainable - {name for name, parameter in untouched.named_parameters() if not parameter.requires_grad}


@dataclass
class _Watched:
    """A weight tensor that has not changed yet, with the number of steps that should have changed it."""

    parameter: nn.Parameter
    chances: int = 0


class TrainedWeights(TrainerCallback):
    """Ends the run before its first step if other parameters are trained than planned, and after its first steps if a weight with a gradient
    does not change."""

    def __init__(self) -> None:
        self.unchanged: dict[str, _Watched] = {}
        self.before: dict[str, tuple[int, float]] = {}
        self.total = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        assert model is not None
        expected = trainable_names(model)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        values = {name for name in trained if VALUE_HEAD in name.split(".")}
        if not expected:
            raise RunFailed("the plan trains no weight of this model", "--target-modules all-linear")
        _refuse(expected - trained, len(expected), "are frozen: they would not be trained")
        _refuse(trained - values - expected, len(trained), "would be trained, and the plan does not train them")
        self.unchanged = {
            name: _Watched(parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        self.total = len(self.unchanged)

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        if not self.unchanged:
            return
        groups = optimizer.param_groups
        optimized = {id(parameter) for group in groups for parameter in group["params"]}
        forgotten = {name for name, watched in self.unchanged.items() if id(watched.parameter) not in optimized}
        _refuse(forgotten, len(self.unchanged), "are not given to the optimizer: they would not be trained")
        self.before = dict(_must_change(self.unchanged, max(group["lr"] for group in groups)))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        before, self.before = self.before, {}
        if not before:
            return
        now = [
            own_part(self.unchanged[name].parameter.detach()).view(-1)[index].double().cpu()
            for name, (index, _) in before.items()
        ]
        for (name, (_, value)), after in zip(before.items(), torch.stack(now).tolist(), strict=True):
            self.unchanged[name].chances += 1
            if after != value:
                del self.unchanged[name]
        self._refuse_unchanged(CHANCES)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._refuse_unchanged(1)

    def _refuse_unchanged(self, chances: int) -> None:
        still = [name for name, watched in self.unchanged.items() if watched.chances >= chances]
        _refuse(still, self.total, f"have a gradient and did not change in {plural(chances, 'optimizer step')}")


def _must_change(unchanged: dict[str, _Watched], lr: float) -> Iterator[tuple[str, tuple[int, float]]]:
    """For each tensor the element with the largest gradient, and its value, if the step must change it; nothing if a gradient is not finite."""
    own = [
        (name, own_part(watched.parameter.detach()), own_part(watched.parameter.grad.detach()))
        for name, watched in unchanged.items()
        if watched.parameter.grad is not None
    ]
    with_gradient = [
        (name, parameter, gradient.view(-1))
        for name, parameter, gradient in own
        if gradient.numel() and parameter.is_contiguous() and gradient.is_contiguous()
    ]
    if not with_gradient or lr <= 0:
        return
    # Read together: each reading waits for the device. The lowest and the highest element, because abs() would need a copy of the gradient.
    ends = [torch.stack([gradient.argmax(), gradient.argmin()]) for _, _, gradient in with_gradient]
    rows = [
        torch.cat([at, gradient[at].double(), parameter.view(-1)[at].double()])
        for at, (_, parameter, gradient) in zip(ends, with_gradient, strict=True)
    ]
    read = torch.stack([row.cpu() for row in rows]).tolist()
    if not all(abs(value) < float("inf") for row in read for value in row[2:4]):
        return
    for (name, parameter, _), (high, low, at_high, at_low, value_high, value_low) in zip(
        with_gradient, read, strict=True
    ):
        index, gradient, value = (
            (int(high), at_high, value_high) if at_high >= -at_low else (int(low), -at_low, value_low)
        )
        if UPDATE_SHARE * lr * min(1.0, gradient) > torch.finfo(parameter.dtype).eps * abs(value):
            yield name, (index, value)


def _refuse(names: Collection[str], total: int, fault: str) -> None:
    if names:
        named = ", ".join(sorted(names)[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
        raise RunFailed(
            f"{len(names)} of {total} weight tensors {fault} ({named})",
            "--peft, or without it --model with a merged model; and please report this with the command",
        )
