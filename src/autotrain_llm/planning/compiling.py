"""Decide whether the decoder layers of a run are compiled, and what stands against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.params.precision import ON, SELECTIVE

if TYPE_CHECKING:
    from autotrain_llm.context.run_context import RunContext
    from autotrain_llm.planning.plan import LayoutPlan, PrecisionPlan

DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")  # settings of config.json
SOFTCAP = "attn_logit_softcapping"


def decide_compiling(config: Config, context: RunContext, layout: LayoutPlan, precision: PrecisionPlan) -> str | None:
    """Why the layers are compiled; None if they are not. What stands against a given `--compile on` is a finding."""
    return "--compile on" if config.compile == ON else None


def flags_against_compiling(config: Config) -> dict[str, str]:
    """Given parameters whose runs are not compiled, with the reason."""
    against = {}
    if config.engine != "native":
        against["engine"] = "TRL's trainer pads its batches, and a graph holds for batches without padding"
    if config.context_parallel > 1:
        against["context_parallel"] = "processes exchange tokens inside each layer"
    if config.quantization:
        against["quantization"] = "bitsandbytes' matrices are computed outside any graph"
    if config.gradient_checkpointing == SELECTIVE:
        against["gradient_checkpointing"] = (
            "what is saved of a layer is chosen among its operations, and a graph is one"
        )
    return against


def reason_against_compiling(context: RunContext, layout: LayoutPlan, precision: PrecisionPlan) -> str | None:
    """What about the model or its numbers keeps its layers from being compiled; None if nothing does."""
    settings = (context.model.config if context.model and not context.is_scratch else None) or {}
    if layout.name == "padded":
        return f"its rows are padded: {layout.why}"
    dropout = next((name for name in DROPOUTS if settings.get(name)), None)
    if dropout:
        return f'its attention drops probabilities at random ("{dropout}": {settings[dropout]} in config.json)'
    if not precision.cpu and precision.name == "fp32":
        return "in fp32 a GPU has no attention kernel for rows of different lengths that a graph can hold"
    if not precision.cpu and settings.get(SOFTCAP):
        return f'on a GPU the attention kernel that a graph can hold has no softcap ("{SOFTCAP}" in config.json)'
    return None
