"""How long and how fast: steps, batches, optimizer and schedule."""

from __future__ import annotations

from autotrain_llm.declare.param import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_BELOW_ONE,
    Bounds,
    among,
    group,
    linear,
    log,
    param,
)

OPTIMIZERS = ("adamw_torch", "sgd", "adafactor", "adamw_bnb_8bit", "paged_adamw_8bit")
SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay")


@group("Training", order=30)
class Training:
    """How long to train and on how much at a time."""

    lr: float = param(None, "Learning rate at its peak.", within=POSITIVE, search=log(1e-6, 1e-3), required=True)
    epochs: float | None = param(
        None, "Passes over the training rows.", within=POSITIVE, suggested=1, alternative="max_steps"
    )
    max_steps: int | None = param(
        None, "Stop after so many optimizer steps, whatever --epochs says.", within=AT_LEAST_ONE, also=(-1,)
    )
    batch_size: int = param(
        None,
        "Rows on each device at a time.",
        within=AT_LEAST_ONE,
        search=among(2, 4, 8, 16),
        required=True,
        suggested=8,
    )
    gradient_accumulation: int = param(
        1, "Batches whose gradients are summed into one optimizer step.", within=AT_LEAST_ONE, suggested=1
    )
    seed: int = param(
        42, "Seed of everything random.", within=Bounds(low=0, high=2**32 - 1), stage="rows", used_by_inference=True
    )


@group("Optimizer and schedule", order=40)
class Optimisation:
    """How the weights move."""

    optimizer: str = param(
        "adamw_torch",
        "Optimizer.",
        choices=OPTIMIZERS,
        replaced_choices={"adamw_hf": "adamw_torch", "adamw_torch_fused": "adamw_torch"},
        fixed_on_resume=True,
    )
    scheduler: str = param(
        "linear", "How the learning rate falls after the warm-up.", choices=SCHEDULERS, search=among("linear", "cosine")
    )
    warmup_ratio: float = param(
        0.1,
        "Share of the steps over which the learning rate rises to its peak.",
        within=SHARE_BELOW_ONE,
        search=linear(0.0, 0.2),
        suggested=0.1,
    )
    weight_decay: float = param(0.01, "Weight decay.", within=NOT_NEGATIVE, search=linear(0.0, 0.1))
    max_grad_norm: float = param(1.0, "Clip the gradient's norm at this; 0 leaves it as it is.", within=NOT_NEGATIVE)
