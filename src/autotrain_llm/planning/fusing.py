"""Decide whether the adapters of a layer are computed together, and what stands against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotrain_llm.config.resolved import Config
from autotrain_llm.params.precision import AUTO, OFF, ON, SELECTIVE

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import FusingPlan, LayoutPlan

DORA = "DoRA scales each row of the sum of weight and adapter, which is made anew at every call"


def decide_fusing(config: Config, layout: LayoutPlan, *, dora: bool, cpu: bool, computes_in: str) -> FusingPlan | None:
    """Whether a layer's adapters are computed together, and why; None without an adapter. `dora` is whether the adapter is one, which it may be
    by what it was saved with; `computes_in` is the name of the precision."""
    from autotrain_llm.planning.plan import FusingPlan  # the flags are checked without it

    if not config.peft:
        return None
    if config.fused_lora == OFF:
        return FusingPlan(False, "--fused-lora off")
    against = next(iter(flags_against_fusing(config).values()), None)
    if against is None and dora:
        against = DORA
    if against is None and config.quantization and computes_in != "bf16":
        against = f"products with weights in 4 bits are in bf16, and the run is in {computes_in}"
    if against is None and layout.name == "padded":
        against = f"rows are padded: {layout.why}"
    if against is not None:
        return FusingPlan(False, against)
    if config.fused_lora == AUTO and not cpu:
        return FusingPlan(False, "not timed on a GPU yet: --fused-lora on computes them together")
    return FusingPlan(True, "--fused-lora on" if config.fused_lora == ON else "faster on processors")


def flags_against_fusing(config: Config) -> dict[str, str]:
    """Given parameters with which PEFT computes each adapter, with the reason."""
    against = {}
    if config.engine != "native":
        against["engine"] = "TRL's trainer runs PEFT's own layers"
    if config.use_dora:
        against["use_dora"] = DORA
    if config.quantization == "int8":
        against["quantization"] = "products with weights in 8 bits are bitsandbytes' own"
    if config.compile == ON:
        against["compile"] = "the compiler fuses what PEFT's layers do"
    if config.gradient_checkpointing == SELECTIVE:
        against["gradient_checkpointing"] = "results of products are saved, which fused adapters add to"
    return against
