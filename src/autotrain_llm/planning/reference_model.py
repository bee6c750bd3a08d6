"""Decide the reference model of a preference trainer, and whether it is run once before training or online with each batch."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.plan import ReferencePlan

ANOTHER_MODEL = "another model"
ADAPTER_OFF = "the model without its adapter"
ADAPTER_AS_IT_WAS = "the model with the adapter it began with"
COPY = "a copy of the model as it was"
BEFOREHAND = "once, before training"
ONLINE = "online, with each batch"


def decide_reference(config: Config, context: RunContext, epochs: float, *, short_of_memory: bool) -> ReferencePlan:
    """The plan's `reference`: its kind, the model it names, when it is computed, and why."""
    kind = reference_kind(config, context)
    if config.engine == "trl":
        when, why = ONLINE, "as TRL's trainer does"
    elif config.trainer_spec.parts_pairs:
        when, why = ONLINE, "each epoch pairs prompts with other answers"
    elif epochs > 1:
        when, why = BEFOREHAND, f"every row is trained on more than once ({epochs:g} epochs)"
    elif short_of_memory and kind in (ANOTHER_MODEL, COPY):
        when, why = BEFOREHAND, "memory would not hold a second model"
    else:
        when, why = ONLINE, "no row is trained on more than once"
    return ReferencePlan(kind, config.model_ref, when, why)


def reference_kind(config: Config, context: RunContext) -> str:
    """The source of the reference's weights."""
    if config.applies("model_ref") and config.model_ref:
        return ANOTHER_MODEL
    if not config.peft:
        return COPY
    return ADAPTER_AS_IT_WAS if context.model is not None and context.model.is_adapter else ADAPTER_OFF
