"""Metrics in one line, for the progress of a run or a sweep."""

from __future__ import annotations

from collections.abc import Mapping

SHOWN = ("loss", "reward", "eval_loss", "eval_reward", "learning_rate", "tokens_per_second")
NAMES = {"learning_rate": "lr", "tokens_per_second": "tokens/s", "eval_loss": "eval loss", "eval_reward": "eval reward"}


def metrics_line(metrics: Mapping[str, float], columns: int | None = None) -> str:
    """Metrics in one line: the usual ones first, then those of evaluation, without timings; only as many as fit into `columns`."""
    shown = [name for name in SHOWN if name in metrics]
    timings = ("_per_second", "_seconds")
    shown += [name for name in metrics if name.startswith("eval_") and name not in SHOWN and not name.endswith(timings)]
    parts = [f"{NAMES.get(name, name.replace('_', ' '))} {_number(name, metrics[name])}" for name in shown]
    while columns is not None and len("  ".join(parts)) > columns and len(parts) > 1:
        parts.pop()
    return "  ".join(parts)


def step_text(step: int, steps: int) -> str:
    """Where a run is: `step 3/12`; an evaluation before the first step is before the training."""
    return f"step {step}/{steps}" if step and steps else f"step {step}" if step else "before training"


def _number(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "tokens_per_second" else f"{value:.4g}"
