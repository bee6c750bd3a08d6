"""One of the processes that train together, as the agent starts it: it prints nothing, and the one that it belongs to says how it ended."""

from __future__ import annotations

from pathlib import Path


def train_process(folder: str) -> int:
    """Carry out the order in a folder and return the exit status."""
    from autotrain_llm.run.launch.worker import work

    return work(Path(folder))
