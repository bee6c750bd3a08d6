"""The answers that a policy samples in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EvalAnswer:
    """An answer that was sampled in an evaluation: the index of its prompt among the prepared evaluation rows, the prompt and the answer as text,
    and its `scores`: the reward, its sources, and the divergence from the reference model, by metric."""

    row: int
    prompt: str
    text: str
    finished: bool
    scores: Mapping[str, float]
