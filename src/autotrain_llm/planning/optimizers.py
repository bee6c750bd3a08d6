"""Decide the optimizer and the schedule of the learning rate, and count what the optimizer keeps."""

from __future__ import annotations

import math
from typing import Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.record import Record
from autotrain_llm.params.optimizers import OPTIMIZERS
from autotrain_llm.planning import memory_model as estimate
from autotrain_llm.planning.plan import OptimizerPlan

GALORE = "galore_adamw"


class LearningRates(Record):
    """A schedule of transformers, by its names, and the steps of its warm-up."""

    name: str
    warmup_steps: int
    options: dict[str, Any] | None = None


def learning_rates(config: Config, steps: int) -> LearningRates:
    """The schedule of a run of so many steps. At least the last step has the full rate; a constant one has no warm-up."""
    warmup = min(math.ceil(steps * config.warmup_ratio), steps - 1)
    floor, lowest = config.min_lr_ratio, config.min_lr_ratio * (config.lr or 0)
    if not OPTIMIZERS[config.optimizer].schedules:
        return LearningRates("constant_with_warmup", warmup)
    if config.scheduler == "constant":
        return LearningRates("constant", 0)
    if config.scheduler == "polynomial":
        return LearningRates("polynomial", warmup, {"power": config.polynomial_power, "lr_end": lowest})
    if config.scheduler == "linear" and floor:
        return LearningRates("polynomial", warmup, {"power": 1.0, "lr_end": lowest})
    if config.scheduler == "cosine" and floor:
        return LearningRates("cosine_with_min_lr", warmup, {"min_lr_rate": floor})
    if config.scheduler == "warmup_stable_decay":
        decay = min(max(1, round(steps * config.decay_ratio)), steps - warmup)
        options = {"num_decay_steps": decay, "decay_type": config.decay_shape, "min_lr_ratio": floor}
        return LearningRates("warmup_stable_decay", warmup, options)
    return LearningRates(config.scheduler, warmup)


def decide_optimizer(config: Config) -> OptimizerPlan | None:
    """The optimizer where it is not one that transformers makes by a name."""
    if OPTIMIZERS[config.optimizer].transformers is not None:
        return None
    settings = (
        {"rank": config.galore_rank, "update_steps": config.galore_update_steps} if config.optimizer == GALORE else {}
    )
    return OptimizerPlan(config.optimizer, settings)


def states_of(config: Config, shape: estimate.Shape, adapter: estimate.Adapter | None) -> float:
    """The values that the optimizer keeps for each trained value, counted in float32 and averaged over all of them."""
    optimizer = OPTIMIZERS[config.optimizer]
    trained = estimate.trainable_values(shape, adapter)
    if config.optimizer == GALORE:
        return _galore_values(config.galore_rank, shape, adapter) / max(trained, 1)
    if optimizer.hidden_states is None:
        return optimizer.states
    if adapter:  # both of its matrices lie in layers
        return optimizer.hidden_states
    hidden = shape.linear / max(trained, 1)
    return hidden * optimizer.hidden_states + (1 - hidden) * optimizer.states


def _galore_values(rank: int, shape: estimate.Shape, adapter: estimate.Adapter | None) -> int:
    """Two moments of each projected gradient, and its projection; elsewhere two moments of each value."""
    if adapter:
        return 2 * adapter.values  # no matrix of an adapter is projected: its rank is low
    hidden, inner = shape.hidden, shape.intermediate
    sides = [(hidden, shape.queries)] * 2 + [(hidden, shape.keys)] * 2 + [(hidden, inner)] * (3 if shape.gated else 2)
    projected = [(max(pair), min(pair)) for pair in sides if min(pair) > rank]
    values = sum(2 * rank * longer + rank * shorter for longer, shorter in projected)
    replaced = sum(longer * shorter for longer, shorter in projected)
    return shape.layers * values + 2 * max(0, shape.parameters - shape.layers * replaced)
