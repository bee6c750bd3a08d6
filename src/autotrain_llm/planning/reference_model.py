"""What a preference trainer measures against, and whether that is computed beside each batch or once beforehand, with the reason."""

from __future__ import annotations

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.planning.plan import ReferencePlan

ANOTHER_MODEL = "another model"
ADAPTER_OFF = "the model without its adapter"
ADAPTER_AS_IT_WAS = "the model with the adapter it began with"
COPY = "a copy of the model as it was"
BEFOREHAND = "once, before training"
ONLINE = "beside each batch"


def decide_reference(config: Config, context: RunContext, epochs: float, *, short_of_memory: bool) -> ReferencePlan:
    """The plan's `reference`: its kind, the model it names, when it is computed, and why."""
    kind = reference_kind(config, context)
    if config.engine == "trl":
        when, why = ONLINE, "as TRL's trainer does"
    elif config.trainer_spec.parts_pairs:
        when, why = ONLINE, "each epoch mismatches other answers"
    elif epochs > 1:
        when, why = BEFOREHAND, f"every row is seen more than once ({epochs:g} epochs)"
    elif short_of_memory and kind in (ANOTHER_MODEL, COPY):
        when, why = BEFOREHAND, "memory would not hold a second model"
    else:
        when, why = ONLINE, "no row is seen more than once"
    return ReferencePlan(kind, config.model_ref, when, why)


def reference_kind(config: Config, context: RunContext) -> str:
    """Where the reference's weights are."""
    if config.applies("model_ref") and config.model_ref:
        return ANOTHER_MODEL
    if not config.peft:
        return COPY
    return ADAPTER_AS_IT_WAS if context.model is not None and context.model.is_adapter else ADAPTER_OFF
