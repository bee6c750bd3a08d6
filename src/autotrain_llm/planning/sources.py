"""The sources of a mixture in the plan, and how they differ from those of an earlier plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotrain_llm.data.mixture.mixture import Mixture
from autotrain_llm.planning.plan import SourcePlan

DIGITS = 6


def plan_sources(mixture: Mixture) -> tuple[SourcePlan, ...]:
    """What an epoch has of each source."""
    counts = mixture.counts([source.rows for source in mixture.sources])
    return tuple(
        SourcePlan(
            name=source.name,
            path=source.path,
            format=source.format,
            weight=source.weight,
            rows=source.rows,
            eval_rows=source.eval_rows,
            tokens=source.tokens,
            rows_of_epoch=count,
            passes=round(source.passes, DIGITS),
            share_of_rows=round(mixture.share_of_rows(source), DIGITS),
            share_of_tokens=round(mixture.share_of_tokens(source), DIGITS),
            fingerprint=source.fingerprint,
            samples=source.samples,
        )
        for source, count in zip(mixture.sources, counts, strict=True)
    )


def changed_sources(before: Sequence[Mapping[str, Any]], mixture: Mixture) -> list[str]:
    """What is different from the sources of an earlier plan, as clauses: `code is new`."""
    earlier = {str(source.get("name")): source for source in before}
    now = {source.name: source for source in plan_sources(mixture)}
    changes = [f"{name} is not a source any more" for name in earlier if name not in now]
    for name, source in now.items():
        was = earlier.get(name)
        if was is None:
            changes.append(f"{name} is new")
        elif was.get("fingerprint") != source.fingerprint:
            changes.append(f"the rows of {name} have changed")
        elif was.get("passes") != source.passes:
            changes.append(
                f"an epoch goes through {name} {source.passes:.3g} times and no longer {was.get('passes'):.3g}"
            )
    if not changes and list(earlier) != list(now):
        changes.append("the sources stand in another order")
    return changes or ["the seed has changed"]
