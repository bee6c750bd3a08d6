"""The experts of a mixture by the tensors of its files, and whether an adapter is on them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from autotrain_llm.models.architectures import EXPERTS_WITH_LORA
from autotrain_llm.models.checks.target_modules import ALL_LINEAR, matches
from autotrain_llm.models.metadata import ModelMetadata

SINGLE = re.compile(r"\.experts\.\d+\.")  # one expert's matrix
STACKED = re.compile(r"expert|_moe\.|\.moe\.")  # of all experts, in three dimensions
ROUTER = "gate"
FUSED_PAIRS = (("gate_proj", "up_proj"), ("w1", "w3"))
USUAL_NAMES = ("down_proj", "w2", *(name for pair in FUSED_PAIRS for name in pair))


def _expert_tensors(metadata: ModelMetadata) -> list[str]:
    return [
        name
        for name, shape in metadata.tensors.items()
        if SINGLE.search(name) or (len(shape) == 3 and STACKED.search(name))
    ]


def expert_names(metadata: ModelMetadata) -> tuple[str, ...]:
    """Names of the matrices in experts: `w1`, `gate_up_proj`."""
    names = (name.removesuffix(".weight").rpartition(".")[2] for name in _expert_tensors(metadata))
    return tuple(sorted(set(names)))


def expert_parameters(metadata: ModelMetadata) -> int:
    """The number of parameters in experts."""
    return sum(math.prod(metadata.tensors[name]) for name in _expert_tensors(metadata))


def adapts_experts(metadata: ModelMetadata | None, targets: Sequence[str]) -> bool:
    """Whether an adapter on these targets is on experts, or on the router beside them: on parameters, not on modules."""
    if metadata is None or metadata.model_type not in EXPERTS_WITH_LORA:
        return False
    if tuple(targets) == (ALL_LINEAR,):
        return True
    modules = [name for name in metadata.modules if SINGLE.search(name) or name.endswith(f".{ROUTER}")]
    if not modules:  # of a model on the Hub whose tensors are not known
        return any(target in (*USUAL_NAMES, ROUTER) for target in targets)
    return any(matches(target, module) for target in targets for module in modules)
