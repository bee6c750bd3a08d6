"""Readers of what a sweep wrote."""

from __future__ import annotations

import json
from pathlib import Path


def trials_in(folder: str | Path) -> list[dict]:
    return json.loads((Path(folder) / "sweep" / "trials.json").read_text())["trials"]
