"""Log-probabilities of whole answers, summed from those of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from autotrain_llm.run.engine.flat.model import FlatOutput


def sequence_logps(output: FlatOutput, batch: Mapping[str, Any]) -> torch.Tensor:
    """The log-probability of each answer (answers,), in float64: over a long answer, float32 rounding errors would add up."""
    assert output.logprobs is not None
    logprobs = output.logprobs.double()
    return logprobs.new_zeros(batch["answers"]).index_add(0, batch["target_answers"], logprobs)


def lengths(batch: Mapping[str, Any]) -> torch.Tensor:
    """The number of targets of each answer (answers,), at least one."""
    return torch.bincount(batch["target_answers"], minlength=batch["answers"]).clamp(min=1)
