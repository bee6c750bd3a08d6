"""How fast a run goes: tokens a second, padding that its layout saved, and its share of what the machine could multiply."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.peak_flops import Peak

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class FlopsPerItem:
    """Operations that a step needs, at the least: for each token that passes the layers, and for each that is predicted."""

    per_token: float
    per_target: float

    def of(self, tokens: float, targets: float) -> float:
        return self.per_token * tokens + self.per_target * targets


def flops_of(model: torch.nn.Module) -> FlopsPerItem | None:
    """Six operations for each trained parameter a token meets (two forward, four backward), four for a frozen one.

    The embedding is a look-up and counts nothing, the head only where a token is predicted. Attention's own products and what
    gradient checkpointing computes again are not counted. None where the files' numbers don't tell what a token meets: experts, of
    which it meets a few, and quantised weights, of which several share a number.
    """
    causal = causal_model(model)
    if any(getattr(causal.config, name, None) for name in EXPERTS):
        return None
    head = causal.get_output_embeddings()
    of_head = {id(one) for one in head.parameters()} if head is not None else set()
    of_embedding = {id(one) for one in causal.get_input_embeddings().parameters()} - of_head
    per_token = per_target = 0.0
    for one in model.parameters():
        if not one.dtype.is_floating_point:
            return None
        operations = (6.0 if one.requires_grad else 4.0) * one.numel()
        if id(one) in of_head:
            per_target += operations
        elif id(one) not in of_embedding:
            per_token += operations
    return FlopsPerItem(per_token, per_target)


class Throughput:
    """Counts what the batches of this process hold; `take` turns the counts since its last call into metrics of all processes."""

    def __init__(self, work: FlopsPerItem | None, peak: Peak | None) -> None:
        self.work, self.peak = work, peak
        self.counts = [0.0, 0.0, 0.0]
        self.since: float | None = None

    def add(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Batches about to be computed: their tokens, the positions that padding would have added, and their targets."""
        if self.since is None:
            self.since = time.perf_counter()
        for batch in batches:
            for place, count in enumerate(
                (batch["tokens"], batch["padding_tokens_saved"], batch["target_labels"].numel())
            ):
                self.counts[place] += count

    def leave_out(self, seconds: float) -> None:
        """Time that went by without training."""
        if self.since is not None:
            self.since += seconds

    def take(
        self, processes: int, over_processes: Callable[[torch.Tensor], torch.Tensor], device: Any
    ) -> dict[str, float]:
        """The metrics, by the names in docs/metrics.md."""
        if self.since is None:
            return {}
        tokens, spared, targets = over_processes(torch.tensor(self.counts, device=device)).tolist()
        seconds = time.perf_counter() - self.since
        self.counts, self.since = [0.0, 0.0, 0.0], time.perf_counter()
        found = {"tokens_per_second": round(tokens / seconds, 1)}
        if tokens:
            found["padding_saved"] = round(spared / (tokens + spared), 4)
        if self.work is not None and self.peak is not None:
            rate = self.work.of(tokens, targets) / seconds
            found["mfu"] = round(rate / (self.peak.rate * processes), 4)
        return found
