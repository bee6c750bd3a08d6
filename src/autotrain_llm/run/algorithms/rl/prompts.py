"""Prompts for a policy."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from autotrain_llm.data.rows import TokenRows


class Prompts(Dataset[Any]):
    """Prepared prompt rows. Its length as a dataset is 0, because batches are made of sampled answers instead."""

    mismatches = False

    def __init__(self, rows: TokenRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 0

    def collating(self, collate: Any) -> Any:
        return collate
