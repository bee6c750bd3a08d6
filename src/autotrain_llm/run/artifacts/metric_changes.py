"""What a model scored before training, on the way and after it: `eval/metrics.json`, as the report and the model card show it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

EVALUATION = Path("eval", "metrics.json")


class MetricChange(NamedTuple):
    """One metric; None where it was not measured."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


def compare(document: Mapping[str, Any]) -> list[MetricChange]:
    """Every metric that was measured before or after, in the order it stands in the file; nested names are joined by a slash.

    How long a measurement took is none.
    """
    before, after = (numbers(document.get(part)) for part in ("before", "after"))
    names = [name for name in dict.fromkeys([*before, *after]) if not name.endswith("seconds")]
    return [MetricChange(name, before.get(name), after.get(name)) for name in names]


def numbers(document: Any, above: str = "") -> dict[str, float]:
    """The numbers of a nested document by their joined names; whatever else it holds is left out."""
    return dict(_numbers(document, above))


def _numbers(document: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from _numbers(value, f"{name}/{key}" if name else str(key))
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield name, document


def compared_in(folder: Path) -> list[MetricChange]:
    """The comparison that lies in a run's folder; empty where there is none, or none that can be read."""
    try:
        document = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return compare(document) if isinstance(document, dict) else []
