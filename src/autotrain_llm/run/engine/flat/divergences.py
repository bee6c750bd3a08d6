"""The divergence of a student's distribution from its teacher's, with the gradient: over all tokens, or over the teacher's top k and the rest.

With p the teacher's probabilities and q the student's, both at the temperature: forward_kl is Σ p log(p/q), reverse_kl Σ q log(q/p), jsd the
mean of both to their mixture m = (p + q) / 2 (Agarwal et al. 2024, arXiv:2306.13649, equation 1 with β = ½). Gradients are with respect to
the student's logits at the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from autotrain_llm.run.engine.flat.tiled_head import softmax_and_logsumexp

LOG_2 = math.log(2.0)
# Of logits (tokens, V) of student and teacher: the divergence (tokens,), and written over `student` its gradient. Both are overwritten.
LogitsDivergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def forward_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(teacher‖student): its gradient is q - p."""
    log_ratio = teacher - student
    p, logsumexp_p = softmax_and_logsumexp(teacher, teacher.amax(-1))
    q, logsumexp_q = softmax_and_logsumexp(student, student.amax(-1))
    divergence = log_ratio.mul_(p).sum(-1) - logsumexp_p + logsumexp_q
    torch.sub(q, p, out=student)
    return divergence


def reverse_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(student‖teacher): its gradient is q (c - Σ q c) with c = log(q/p)."""
    log_ratio = student - teacher
    logsumexp_p = softmax_and_logsumexp(teacher, teacher.amax(-1))[1]
    q, logsumexp_q = softmax_and_logsumexp(student, student.amax(-1))
    mean = torch.linalg.vecdot(q, log_ratio)
    torch.mul(q, log_ratio.sub_(mean[:, None]), out=student)
    return mean - logsumexp_q + logsumexp_p


def jsd(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon: its gradient is ½ q (c - Σ q c) with c = log(q/m)."""
    log_p = teacher.sub_(torch.logsumexp(teacher, -1, keepdim=True))
    log_q = student - torch.logsumexp(student, -1, keepdim=True)
    log_m = torch.logaddexp(log_p, log_q).sub_(LOG_2)
    kl_p = torch.linalg.vecdot(log_p.exp(), log_p - log_m)
    q = log_q.exp()
    log_ratio = log_q.sub_(log_m)
    kl_q = torch.linalg.vecdot(q, log_ratio)
    torch.mul(q, log_ratio.sub_(kl_q[:, None]).mul_(0.5), out=student)
    return (kl_p + kl_q) / 2


DIVERGENCES: dict[str, LogitsDivergence] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "jsd": jsd}

# Over buckets (tokens, buckets) of log-probabilities `log_p` and `log_q`: the divergence, and its gradient as it would be if each of q's
# buckets had a logit of its own. A bucket that is empty in both adds nothing.
BucketsDivergence = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
SMALLEST_REST = (
    1e-37  # of the student's probability of a bucket that its teacher has something in: its logarithm stays finite
)


def _expectation_terms(log_prob: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Probabilities times values; 0 if the probability is 0, whatever the value."""
    return torch.where(log_prob.isneginf(), 0.0, log_prob.exp() * value)


def _forward_kl(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _expectation_terms(log_p, log_p - log_q).sum(-1), log_q.exp() - log_p.exp()


def _reverse_kl(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    divergence = _expectation_terms(log_q, log_q - log_p).sum(-1)
    return divergence, _expectation_terms(log_q, log_q - log_p - divergence[:, None])


def _jsd(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    log_m = torch.logaddexp(log_p, log_q) - LOG_2
    kl_p = _expectation_terms(log_p, log_p - log_m).sum(-1)
    kl_q = _expectation_terms(log_q, log_q - log_m).sum(-1)
    return (kl_p + kl_q) / 2, _expectation_terms(log_q, log_q - log_m - kl_q[:, None]) / 2


BUCKETS: dict[str, BucketsDivergence] = {"forward_kl": _forward_kl, "reverse_kl": _reverse_kl, "jsd": _jsd}


def topk_divergence(
    divergence: str, student: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor, rest: torch.Tensor
) -> torch.Tensor:
    """The divergence over k + 1 buckets: each of the tokens `ids` (tokens, k), and all others together. Overwrites `student` with its gradient.

    `logprobs` (tokens, k) and `rest` (tokens,) are the teacher's. Joining tokens never increases the divergence: this is a lower bound of the one
    over the full vocabulary, and equal to it if no tokens are joined.
    """
    topk_logits = student.gather(1, ids)
    q, logsumexp = softmax_and_logsumexp(student, student.amax(-1))
    q.scatter_(1, ids, 0.0)
    q_rest = torch.where(rest.isneginf(), 0.0, q.sum(-1).clamp_(min=SMALLEST_REST))[:, None]
    log_q = torch.cat([topk_logits - logsumexp[:, None], q_rest.log()], dim=1)
    value, gradient = BUCKETS[divergence](torch.cat([logprobs, rest[:, None]], dim=1), log_q)
    # The bucket's gradient is shared among its tokens in proportion to their probabilities.
    torch.mul(q, gradient[:, -1:] / q_rest.clamp(min=SMALLEST_REST), out=student)
    student.scatter_(1, ids, gradient[:, :-1])
    return value
