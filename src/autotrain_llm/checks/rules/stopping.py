"""Whether a run that may stop early ever can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autotrain_llm.config.resolved import Config
from autotrain_llm.declare.finding import WARNING, Finding, in_words
from autotrain_llm.declare.rule import rule

if TYPE_CHECKING:
    from autotrain_llm.planning.plan import Plan


@rule("P339", WARNING)
def a_patience_ends_before_the_run_does(config: Config, plan: Plan) -> Iterator[Finding]:
    """`--early-stopping-patience` takes more evaluations than the run has.

    Why: the first evaluation is the best so far, whatever it says, and a run stops after as many more in a row that are no better. With fewer
    it goes on to its end, whatever is measured.
    Fix: a smaller patience, or more evaluations.
    """
    schedule = plan.schedule
    patience, steps = schedule.patience, schedule.steps
    if not config.given("early_stopping_patience") or not patience or schedule.evaluate == "no" or config.use_sweep:
        return
    by_steps = schedule.evaluate == "steps"
    every = schedule.eval_steps if by_steps else schedule.steps_of_epoch
    times = steps // every if by_steps else -(-steps // every)
    if times > patience:
        return
    smaller = -(-steps // every) - 2
    oftener = _more_evaluations(config, (steps - 1) // (patience + 1))
    ways: list[dict[str, Any]] = [{"early_stopping_patience": smaller}] if smaller >= 1 else []
    ways += [oftener] if oftener else []
    when = f"every {every} of its {steps} steps" if by_steps else "after each epoch"
    yield Finding(
        f"--early-stopping-patience {patience} can never stop this run: that takes {patience} evaluations after the first, and there "
        f"{'is' if times == 1 else 'are'} {times} in all, {when}",
        changes=ways[0] if ways else {"early_stopping_patience": None},
        otherwise=f"or {in_words(ways[1])}" if len(ways) > 1 else "",
        parameters=("early_stopping_patience",),
    )


def _more_evaluations(config: Config, every: int) -> dict[str, Any]:
    """The flags that evaluate every so many steps, and save at each of them; none where steps are too few."""
    if every < 1:
        return {}
    changes: dict[str, Any] = {"eval_steps": every}
    changes |= {"eval_strategy": "steps"} if config.given("eval_strategy") else {}
    changes |= {"save_strategy": "steps"} if config.given("save_strategy") else {}
    return changes | ({"save_steps": every} if config.given("save_steps") else {})
