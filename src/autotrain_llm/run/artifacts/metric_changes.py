"""Evaluations before, during and after training: reading `eval/metrics.json` for the report and the model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotrain_llm.declare.document import parse_json

EVALUATION = Path("eval", "metrics.json")


class MetricChange(NamedTuple):
    """A metric before and after training; None if it was not evaluated."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


def compare(document: Mapping[str, Any]) -> list[MetricChange]:
    """Every metric of the evaluations before and after training, in the file's order; nested names are joined by a slash. Durations are left out."""
    before, after = (numbers(document.get(phase)) for phase in ("before", "after"))
    names = [name for name in dict.fromkeys([*before, *after]) if not name.endswith("seconds")]
    return [MetricChange(name, before.get(name), after.get(name)) for name in names]


def numbers(document: Any, above: str = "") -> dict[str, float]:
    """The numbers of a nested document by their names, joined by a slash."""
    return dict(_numbers(document, above))


def _numbers(document: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from _numbers(value, f"{name}/{key}" if name else str(key))
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield name, document


def compared_in(folder: Path) -> list[MetricChange]:
    """The comparison in a run's folder; empty if the file is missing or damaged."""
    try:
        document = parse_json((folder / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return compare(document) if isinstance(document, dict) else []
