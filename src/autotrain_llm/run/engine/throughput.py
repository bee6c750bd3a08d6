"""The speed of a run: tokens per second, padding saved by the layout, and model FLOPs utilisation (MFU) of matrix products."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.run.engine.flat.model import causal_model
from autotrain_llm.run.engine.group import AllReduceSum
from autotrain_llm.run.engine.peak_flops import Peak

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class FlopsPerItem:
    """Floating-point operations per token of the layers, and per target of the head."""

    per_token: float
    per_target: float

    def total(self, tokens: float, targets: float) -> float:
        return self.per_token * tokens + self.per_target * targets


def flops_of(model: torch.nn.Module) -> FlopsPerItem | None:
    """Six operations per token for each trained parameter (two forward, four backward), four for a frozen one.

    The embedding is a look-up and is not counted, the head only at targets. Attention's products of queries and keys, and what gradient
    checkpointing recomputes, are not counted (as in PaLM's MFU, Chowdhery et al. 2022, arXiv:2204.02311, appendix B, but for attention).
    None for mixtures of experts, where a token passes only a few of the parameters, and for quantised weights, which are packed.
    """
    causal = causal_model(model)
    if any(getattr(causal.config, name, None) for name in EXPERTS):
        return None
    head = causal.get_output_embeddings()
    head_ids = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    embedding_ids = {id(parameter) for parameter in causal.get_input_embeddings().parameters()} - head_ids
    per_token = per_target = 0.0
    for parameter in model.parameters():
        if not parameter.dtype.is_floating_point:
            return None
        operations = (6.0 if parameter.requires_grad else 4.0) * parameter.numel()
        if id(parameter) in head_ids:
            per_target += operations
        elif id(parameter) not in embedding_ids:
            per_token += operations
    return FlopsPerItem(per_token, per_target)


class Throughput:
    """Counts the tokens of this process's batches; `take` turns the counts since its last call into metrics over all processes."""

    def __init__(self, flops: FlopsPerItem | None, peak: Peak | None) -> None:
        self.flops, self.peak = flops, peak
        self.counts = [0.0, 0.0, 0.0]
        self.since: float | None = None

    def add(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Count batches about to be computed: their tokens, the positions that padding would have added, and their targets."""
        if self.since is None:
            self.since = time.perf_counter()
        for batch in batches:
            for index, count in enumerate(
                (batch["tokens"], batch["padding_tokens_saved"], batch["target_labels"].numel())
            ):
                self.counts[index] += count

    def leave_out(self, seconds: float) -> None:
        """Subtract time that was not spent on training."""
        if self.since is not None:
            self.since += seconds

    def take(self, processes: int, over_processes: AllReduceSum, device: Any) -> dict[str, float]:
        """The metrics, by the names in docs/metrics.md."""
        if self.since is None:
            return {}
        tokens, saved, targets = over_processes(torch.tensor(self.counts, device=device)).tolist()
        seconds = time.perf_counter() - self.since
        self.counts, self.since = [0.0, 0.0, 0.0], time.perf_counter()
        metrics = {"tokens_per_second": round(tokens / seconds, 1)}
        if tokens:
            metrics["padding_saved"] = round(saved / (tokens + saved), 4)
        if self.flops is not None and self.peak is not None:
            rate = self.flops.total(tokens, targets) / seconds
            # The peak is measured in a fraction of a second, in which other work on the machine may have slowed it down.
            metrics["mfu"] = min(round(rate / (self.peak.rate * processes), 4), 1.0)
        return metrics
