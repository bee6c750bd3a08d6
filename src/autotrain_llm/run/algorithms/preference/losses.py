"""The losses of `--dpo-loss`, per pair, under TRL's names.

r is an answer's log-ratio of policy and reference, c the chosen answer, j the rejected one, m = r(c) - r(j), β `dpo_beta` and ε
`label_smoothing`. Each follows its paper; what a paper leaves open is done as in TRL 1.16, and the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid, relu, sigmoid

from autotrain_llm.run.algorithms.preference.logps import PairLogps

Loss = Callable[[PairLogps, float, float], torch.Tensor]
# The temperature at which DiscoPOP blends its two losses, as it was discovered.
DISCOPOP_TAU = 0.05


def conservative(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """DPO, -log σ(β m) (Rafailov et al. 2023, arXiv:2305.18290, eq. 7).

    With smoothing, its expectation when a fraction ε of the labels is flipped (conservative DPO: Mitchell 2023). TRL's loss of this name
    has no smoothing.
    """
    return _smoothed(beta * pairs.margin, smoothing)


def _smoothed(scores: torch.Tensor, smoothing: float) -> torch.Tensor:
    """-(1-ε) log σ(x) - ε log σ(-x)."""
    return -(1 - smoothing) * logsigmoid(scores) - smoothing * logsigmoid(-scores)


def hinge(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """max(0, 1 - β m): SLiC's loss on likelihoods relative to the reference (Zhao et al. 2023, arXiv:2305.10425; RSO, arXiv:2309.06657)."""
    return relu(1 - beta * pairs.margin)


def ipo(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """IPO, (h - 1/(2β))² (Azar et al. 2023, arXiv:2310.12036, eq. 17), with log-ratios per token, as TRL has it from the authors."""
    return (_margin_per_token(pairs) - 1 / (2 * beta)) ** 2


def _margin_per_token(pairs: PairLogps) -> torch.Tensor:
    return pairs.chosen_ratio / pairs.chosen_lengths - pairs.rejected_ratio / pairs.rejected_lengths


def sigmoid_norm(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """-log σ(β h) with log-ratios per token: length-normalised DPO (Lambert et al. 2024, Tülu 3, arXiv:2411.15124)."""
    return -logsigmoid(beta * _margin_per_token(pairs))


def exo(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """EXO for pairs: KL of the policy's preference from the label's, (1-ε, ε) (Ji et al. 2024, arXiv:2402.00856, eq. 16). Needs ε > 0."""
    scores = beta * pairs.margin
    wrong = torch.as_tensor(smoothing, dtype=scores.dtype, device=scores.device)
    chosen = sigmoid(scores) * (logsigmoid(scores) - torch.log1p(-wrong))
    return chosen + sigmoid(-scores) * (logsigmoid(-scores) - torch.log(wrong))


def nca(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """NCA for pairs: raises the chosen answer's own likelihood too (Chen et al. 2024, arXiv:2402.05369)."""
    chosen, rejected = beta * pairs.chosen_ratio, beta * pairs.rejected_ratio
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def robust(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """DPO, unbiased when a fraction ε of the labels is flipped (Chowdhury et al. 2024, arXiv:2403.00409, eq. 12). Needs ε < 1/2."""
    scores = beta * pairs.margin
    return (-(1 - smoothing) * logsigmoid(scores) + smoothing * logsigmoid(-scores)) / (1 - 2 * smoothing)


def bco(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """A classifier of chosen against rejected, without BCO's shift (Jung et al. 2024, arXiv:2404.04656), as TRL has it for pairs."""
    return -logsigmoid(beta * pairs.chosen_ratio) - logsigmoid(-beta * pairs.rejected_ratio)


def sppo(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """SPPO with hard labels: the preference probability is 1 for the chosen answer and 0 for the rejected one (Wu et al. 2024, arXiv:2405.00675, eq. 4.7)."""
    return (pairs.chosen_ratio - 0.5 / beta) ** 2 + (pairs.rejected_ratio + 0.5 / beta) ** 2


def aot(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """Alignment by optimal transport, paired: sorted policy margins minus sorted reference margins, within one device's batch
    (Melnyk et al. 2024, arXiv:2406.05882)."""
    policy = (pairs.chosen - pairs.rejected).sort().values
    reference = (pairs.reference_chosen - pairs.reference_rejected).sort().values
    return _smoothed(beta * (policy - reference), smoothing)


def aot_unpaired(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """Alignment by optimal transport, unpaired: sorted log-ratios of chosen answers minus those of rejected ones (the same paper)."""
    return _smoothed(beta * (pairs.chosen_ratio.sort().values - pairs.rejected_ratio.sort().values), smoothing)


def apo_zero(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """Anchored: raises the chosen and lowers the rejected answer (D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7)."""
    return 1 - sigmoid(beta * pairs.chosen_ratio) + sigmoid(beta * pairs.rejected_ratio)


def apo_down(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """Anchored: lowers both answers, the rejected one more. For chosen answers worse than the model's own (the same paper, eq. 8)."""
    return sigmoid(beta * pairs.chosen_ratio) + 1 - sigmoid(beta * pairs.margin)


def discopop(pairs: PairLogps, beta: float, smoothing: float) -> torch.Tensor:
    """A blend of the logistic and the exponential loss, found by a language model (Lu et al. 2024, arXiv:2406.08414, eq. 5)."""
    scores = beta * pairs.margin
    blend = sigmoid(scores / DISCOPOP_TAU)
    return -logsigmoid(scores) * (1 - blend) + torch.exp(-scores) * blend


LOSSES: dict[str, Loss] = {
    "sigmoid": conservative,
    "hinge": hinge,
    "ipo": ipo,
    "exo_pair": exo,
    "nca_pair": nca,
    "robust": robust,
    "bco_pair": bco,
    "sppo_hard": sppo,
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "sigmoid_norm": sigmoid_norm,
}
