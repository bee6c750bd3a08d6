"""The objectives of dpo, orpo and kto: sums over the pairs (dpo, orpo) or answers (kto) of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import logsigmoid, sigmoid

from autotrain_llm.run.algorithms.preference.logps import chosen_metrics, pair_logps, pair_metrics, perplexity
from autotrain_llm.run.algorithms.preference.losses import LOSSES
from autotrain_llm.run.engine.flat.model import LOGPROBS, FlatOutput
from autotrain_llm.run.engine.logps import lengths, sequence_logps
from autotrain_llm.run.engine.objective import Batch, Objective, Sums, count_answers, count_pairs, mean_of


def dpo(settings: Mapping[str, Any]) -> Objective:
    """Direct preference optimisation against a reference model, with the loss named by `dpo_loss`."""
    beta, smoothing = float(settings["dpo_beta"]), float(settings["label_smoothing"])
    per_pair = LOSSES[settings["dpo_loss"]]

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        return per_pair(pair_logps(output, batch), beta, smoothing).sum()

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        pairs = pair_logps(output, batch)
        return {
            **pair_metrics(beta * pairs.chosen_ratio, beta * pairs.rejected_ratio),
            "logps/chosen": mean_of(pairs.chosen),
            "logps/rejected": mean_of(pairs.rejected),
            "kl": mean_of(torch.cat([pairs.chosen_ratio, pairs.rejected_ratio])),
            **chosen_metrics(output, batch, _chosen_of_pairs(batch)),
        }

    return Objective(LOGPROBS, loss, count_pairs, batch_metrics, perplexity)


def orpo(settings: Mapping[str, Any]) -> Objective:
    """Odds-ratio preference optimisation (Hong, Lee and Thorne 2024, arXiv:2403.07691), without a reference model.

    Per pair: the negative log-likelihood of the chosen answer, per token, and `orpo_alpha` (the paper's λ) times -log σ of the log-odds
    ratio, where the odds are those of the likelihood per token, P = exp(log-probability / tokens) (eqs. 4 to 7). TRL's experimental
    trainer takes the first term over the prompt's tokens too, and over all tokens of a batch together.
    """
    alpha = float(settings["orpo_alpha"])

    def terms(output: FlatOutput, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        per_token = sequence_logps(output, batch) / lengths(batch)
        chosen, rejected = per_token[0::2], per_token[1::2]
        return chosen, rejected, log_odds(chosen) - log_odds(rejected)

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        chosen, _, ratio = terms(output, batch)
        return (-chosen - alpha * logsigmoid(ratio)).sum()

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        chosen, rejected, ratio = terms(output, batch)
        return {
            **pair_metrics(alpha * chosen, alpha * rejected),
            "logps/chosen": mean_of(chosen),
            "logps/rejected": mean_of(rejected),
            "nll_loss": mean_of(-chosen),
            "log_odds_ratio": mean_of(logsigmoid(ratio)),
            "log_odds_chosen": mean_of(ratio),
            **chosen_metrics(output, batch, _chosen_of_pairs(batch)),
        }

    return Objective(LOGPROBS, loss, count_pairs, batch_metrics, perplexity)


def log_odds(logprob: torch.Tensor) -> torch.Tensor:
    """log(P / (1 - P)) of a log-probability, which is clamped just below P = 1, where the odds are infinite."""
    logprob = logprob.clamp(max=-torch.finfo(logprob.dtype).eps)
    return logprob - torch.log(-torch.expm1(logprob))


def kto(settings: Mapping[str, Any]) -> Objective:
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306) on single answers, labelled good or bad.

    With r the log-ratio of policy and reference and z the reference point: weight × (1 - σ(β (r - z))) for a good answer,
    weight × (1 - σ(β (z - r))) for a bad one (eqs. 7 and 8). z estimates the KL divergence: the mean log-ratio of mismatched answers
    (each prompt with the previous item's answer) over all processes, clamped at zero and without a gradient. Each micro-batch has its own.
    """
    beta = float(settings["kto_beta"])
    good, bad = float(settings["kto_desirable_weight"]), float(settings["kto_undesirable_weight"])

    def loss(output: FlatOutput, batch: Batch) -> torch.Tensor:
        score = beta * (sequence_logps(output, batch) - batch["reference"] - batch["kl"])
        return torch.where(batch["labels"], good * (1 - sigmoid(score)), bad * (1 - sigmoid(-score))).sum()

    def batch_metrics(output: FlatOutput, batch: Batch) -> Sums:
        logprobs, labels = sequence_logps(output, batch), batch["labels"]
        rewards = beta * (logprobs - batch["reference"])
        kl = batch["kl"].reshape(1)
        return {
            "rewards/chosen": mean_of(rewards[labels]),
            "rewards/rejected": mean_of(rewards[~labels]),
            "rewards/accuracies": mean_of((rewards > beta * kl).eq(labels).double()),
            "logps/chosen": mean_of(logprobs[labels]),
            "logps/rejected": mean_of(logprobs[~labels]),
            "kl": mean_of(kl),
            **chosen_metrics(output, batch, labels),
        }

    return Objective(LOGPROBS, loss, count_answers, batch_metrics, _margin)


def _margin(metrics: Mapping[str, float]) -> dict[str, float]:
    """The difference of the mean rewards of good and bad answers, which are not paired; and the perplexity."""
    chosen, rejected = metrics.get("rewards/chosen"), metrics.get("rewards/rejected")
    margin = {"rewards/margins": chosen - rejected} if chosen is not None and rejected is not None else {}
    return margin | perplexity(metrics)


def _chosen_of_pairs(batch: Batch) -> torch.Tensor:
    """Which answers are the chosen ones of their pairs (answers,): chosen and rejected alternate."""
    return torch.arange(int(batch["answers"])) % 2 == 0
