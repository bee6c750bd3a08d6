"""How far a student's distribution is from its teacher's, with the gradient: three divergences, over all words or over buckets of them.

With p the teacher's probabilities and q the student's, both at the temperature: forward_kl is Σ p log(p/q), reverse_kl Σ q log(q/p), jsd the
mean of both to their middle m = (p + q) / 2 (Agarwal et al. 2024, arXiv:2306.13649, equation 1 with β = ½). Gradients are those of the
student's logits at the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

LOG_2 = math.log(2.0)
# Of tokens and words: a divergence (tokens,), and over `student` its gradient. Both are logits and are overwritten.
LogitsDivergence = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def softened(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax, on a processor in the memory of the logits, and the logarithm of the sum of exponentials (tokens,).

    The sum of exponentials is one over the largest share, which spares a second exponential of everything.
    """
    largest = logits.amax(-1)
    shares = torch.softmax(logits, dim=-1, out=logits) if logits.device.type == "cpu" else torch.softmax(logits, dim=-1)
    return shares, largest - shares.amax(-1).log_()


def forward_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(teacher‖student): its gradient is q - p."""
    apart = teacher - student
    p, total_p = softened(teacher)
    q, total_q = softened(student)
    found = apart.mul_(p).sum(-1) - total_p + total_q
    torch.sub(q, p, out=student)
    return found


def reverse_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(student‖teacher): its gradient is q (c - Σ q c) with c = log(q/p)."""
    apart = student - teacher
    total_p = softened(teacher)[1]
    q, total_q = softened(student)
    mean = torch.linalg.vecdot(q, apart)
    torch.mul(q, apart.sub_(mean[:, None]), out=student)
    return mean - total_q + total_p


def jsd(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon: its gradient is ½ q (c - Σ q c) with c = log(q/m)."""
    log_p = teacher.sub_(torch.logsumexp(teacher, -1, keepdim=True))
    log_q = student - torch.logsumexp(student, -1, keepdim=True)
    middle = torch.logaddexp(log_p, log_q).sub_(LOG_2)
    of_teacher = torch.linalg.vecdot(log_p.exp(), log_p - middle)
    q = log_q.exp()
    apart = log_q.sub_(middle)
    of_student = torch.linalg.vecdot(q, apart)
    torch.mul(q, apart.sub_(of_student[:, None]).mul_(0.5), out=student)
    return (of_teacher + of_student) / 2


DIVERGENCES: dict[str, LogitsDivergence] = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "jsd": jsd}

# Over buckets (tokens, buckets) of log-probabilities `log_p` and `log_q`: the divergence, and its gradient as it would be if each of q's
# buckets had a logit of its own. A bucket that neither has counts nothing.
BucketsDivergence = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
LEAST = 1e-37  # of what a student can leave for a bucket that its teacher has something in


def _weighted(log_share: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Shares times values, with nothing where there is no share."""
    return torch.where(log_share.isneginf(), 0.0, log_share.exp() * value)


def _forward_kl(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _weighted(log_p, log_p - log_q).sum(-1), log_q.exp() - log_p.exp()


def _reverse_kl(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = _weighted(log_q, log_q - log_p).sum(-1)
    return found, _weighted(log_q, log_q - log_p - found[:, None])


def _jsd(log_p: torch.Tensor, log_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    middle = torch.logaddexp(log_p, log_q) - LOG_2
    of_teacher = _weighted(log_p, log_p - middle).sum(-1)
    of_student = _weighted(log_q, log_q - middle).sum(-1)
    return (of_teacher + of_student) / 2, _weighted(log_q, log_q - middle - of_student[:, None]) / 2


BUCKETS: dict[str, BucketsDivergence] = {"forward_kl": _forward_kl, "reverse_kl": _reverse_kl, "jsd": _jsd}


def topk_divergence(
    divergence: str, student: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor, rest: torch.Tensor
) -> torch.Tensor:
    """The divergence over the words `ids` (tokens, k), each a bucket of its own, and one bucket of all others; over `student` its gradient.

    `logprobs` (tokens, k) and `rest` (tokens,) are the teacher's. Joining words makes no divergence larger, so that this is a lower bound of
    the one over all words, and the same where nothing is left to be joined.
    """
    of_ids = student.gather(1, ids)
    q, total = softened(student)
    q.scatter_(1, ids, 0.0)
    left = torch.where(rest.isneginf(), 0.0, q.sum(-1).clamp_(min=LEAST))[:, None]
    log_q = torch.cat([of_ids - total[:, None], left.log()], dim=1)
    found, slope = BUCKETS[divergence](torch.cat([logprobs, rest[:, None]], dim=1), log_q)
    torch.mul(q, slope[:, -1:] / left.clamp(min=LEAST), out=student)
    student.scatter_(1, ids, slope[:, :-1])
    return found
