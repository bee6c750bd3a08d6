"""Log-probabilities of the answers of a batch under policy and reference, and the metrics made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from autotrain_llm.run.engine.flat.model import FlatOutput
from autotrain_llm.run.engine.logps import lengths, sequence_logps
from autotrain_llm.run.engine.objective import MAX_PERPLEXITY_LOSS, Sums, mean_of

NLL = "_nll_of_chosen"


@dataclass(frozen=True)
class PairLogps:
    """Summed log-probabilities of pairs under policy and reference, in nats: each (pairs,).

    chosen_lengths, rejected_lengths: the answers' lengths in tokens.
    """

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_lengths: torch.Tensor
    rejected_lengths: torch.Tensor

    @property
    def chosen_ratio(self) -> torch.Tensor:
        """log policy(chosen) - log reference(chosen)."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> torch.Tensor:
        """log policy(rejected) - log reference(rejected)."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> torch.Tensor:
        """The difference of the two log-ratios: chosen minus rejected."""
        return self.chosen_ratio - self.rejected_ratio


def pair_logps(output: FlatOutput, batch: Mapping[str, Any]) -> PairLogps:
    """The pairs of a batch whose answers alternate: chosen, rejected, chosen, …"""
    policy, reference, tokens = sequence_logps(output, batch), batch["reference"], lengths(batch)
    return PairLogps(policy[0::2], policy[1::2], reference[0::2], reference[1::2], tokens[0::2], tokens[1::2])


def chosen_metrics(output: FlatOutput, batch: Mapping[str, Any], chosen: torch.Tensor) -> Sums:
    """Over the tokens of the answers where `chosen` (answers,) is True: mean negative log-likelihood and top-1 accuracy."""
    assert output.logprobs is not None and output.correct is not None
    mask = chosen.to(output.logprobs.device)[batch["target_answers"]]
    logprobs, correct = output.logprobs.detach().double()[mask], output.correct[mask].double()
    return {NLL: mean_of(-logprobs), "token_accuracy": mean_of(correct)}


def perplexity(metrics: Mapping[str, float]) -> dict[str, float]:
    """exp of the mean negative log-likelihood of the chosen answers' tokens."""
    return {"perplexity": math.exp(min(metrics[NLL], MAX_PERPLEXITY_LOSS))} if NLL in metrics else {}


def pair_metrics(chosen: torch.Tensor, rejected: torch.Tensor) -> Sums:
    """The rewards of pairs, under TRL's metric names."""
    return {
        "rewards/chosen": mean_of(chosen),
        "rewards/rejected": mean_of(rejected),
        "rewards/accuracies": mean_of((chosen > rejected).double()),
        "rewards/margins": mean_of(chosen - rejected),
    }
