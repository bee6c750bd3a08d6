"""Which trials are stopped early: functions of the evaluations of all trials so far.

The rules and their settings are those of Optuna 5's MedianPruner, SuccessiveHalvingPruner and HyperbandPruner. Theirs keep what they have decided in the
process and in the study, so that a trial that is repeated after a kill would be judged by what is left of its first attempt; these keep nothing,
and compare with the trials before the first complete one too. Evaluations are counted 1, 2, … in each trial.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from zlib import crc32

from autotrain_llm.planning.plan import SweepPlan
from autotrain_llm.run.sweep.trial import COMPLETE, Trial

WARM_UP = 3  # complete trials before the median pruner prunes any
HALVING_FACTOR, HYPERBAND_FACTOR = 4, 3  # of the trials at a rung, one in so many goes on
SHARE_BEFORE_FIRST_RUNG = (
    100  # successive halving first compares after one in so many of the evaluations of a complete trial
)


def should_prune(sweep: SweepPlan, trial: Trial, others: Sequence[Trial]) -> bool:
    """Whether a trial should stop after its last evaluation."""
    if sweep.pruner == "none" or not trial.intermediate:
        return False
    sign = 1 if sweep.direction == "minimize" else -1
    own = [sign * value for value in trial.intermediate.values()]
    values = {other.number: [sign * value for value in other.intermediate.values()] for other in others}
    complete = [values[other.number] for other in others if other.state == COMPLETE]
    if sweep.pruner == "median":
        return _is_worse_than_median(own, complete)
    longest = max(map(len, complete), default=0)
    if not longest:
        return False
    if sweep.pruner == "halving":
        return _is_behind(own, list(values.values()), max(longest // SHARE_BEFORE_FIRST_RUNG, 1), HALVING_FACTOR)
    bracket = bracket_of(sweep, trial.number, others)
    same = [values[other.number] for other in others if bracket_of(sweep, other.number, others) == bracket]
    return _is_behind(own, same, HYPERBAND_FACTOR**bracket, HYPERBAND_FACTOR)


def _is_worse_than_median(own: Sequence[float], complete: Sequence[Sequence[float]]) -> bool:
    """Whether the best evaluation so far is worse than the median of the complete trials at the same evaluation. Lower is better."""
    at_same = [values[len(own) - 1] for values in complete if len(values) >= len(own)]
    return len(complete) >= WARM_UP and bool(at_same) and min(own) > statistics.median(at_same)


def _is_behind(own: Sequence[float], others: Sequence[Sequence[float]], first_rung: int, factor: int) -> bool:
    """Asynchronous successive halving (Li et al., 2018): at the evaluations `first_rung * factor**n`, one trial in `factor` goes on."""
    count = len(own)
    rung = first_rung
    while rung < count:
        rung *= factor
    if rung != count:
        return False
    competing = sorted([own[-1], *(values[count - 1] for values in others if len(values) >= count)])
    return own[-1] > competing[max(len(competing) // factor - 1, 0)]


def bracket_of(sweep: SweepPlan, number: int, trials: Sequence[Trial]) -> int:
    """The bracket of a trial in hyperband (Li et al., 2017): the higher, the later its first rung. 0 with another pruner."""
    if sweep.pruner != "hyperband":
        return 0
    longest = max((len(trial.intermediate) for trial in trials if trial.state == COMPLETE), default=0)
    brackets = math.floor(math.log(longest + 1, HYPERBAND_FACTOR)) + 1
    budgets = [math.ceil(brackets * HYPERBAND_FACTOR**later / (later + 1)) for later in range(brackets - 1, -1, -1)]
    place = crc32(f"{sweep.study}_{number}".encode()) % sum(budgets)
    return next(bracket for bracket in range(brackets) if place < sum(budgets[: bracket + 1]))
