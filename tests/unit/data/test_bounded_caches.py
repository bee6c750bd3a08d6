"""Caches do not grow for ever, and what is in use stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from autotrain_llm.data import bounded_caches
from autotrain_llm.data.bounded_caches import FRESH_SECONDS, UNUSED_SECONDS, mark_used, tidy


def entry(folder: Path, name: str, unused: float, size: int = 100) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_bytes(b"x" * size)
    else:
        path.mkdir()
        (path / "train.ids.npy").write_bytes(b"x" * size)
    os.utime(path, (time.time() - unused,) * 2)
    return path


def test_what_nothing_has_used_for_long_is_removed_and_nothing_else(tmp_path):
    old = [entry(tmp_path, name, UNUSED_SECONDS + 60) for name in ("rows/a", "references/a.npy", "distillation/a")]
    others = [entry(tmp_path, name, UNUSED_SECONDS + 60) for name in ("mine/a", "notes.txt")]
    used = entry(tmp_path, "rows/b", UNUSED_SECONDS + 60)
    mark_used(used)
    tidy(tmp_path)
    assert not any(path.exists() for path in old) and all(path.exists() for path in (*others, used))
    tidy(tmp_path / "nowhere")


def test_the_longest_unused_are_removed_where_all_are_too_large_but_nothing_that_may_be_about_to_be_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(bounded_caches, "MOST_BYTES", 250)
    first, second = (entry(tmp_path, f"rows/{n}", FRESH_SECONDS * (5 - n)) for n in range(2))
    newer, newest = entry(tmp_path, "references/x.npy", FRESH_SECONDS + 60), entry(tmp_path, "rows/new", 0)
    tidy(tmp_path)
    assert not first.exists() and not second.exists() and newer.exists() and newest.exists()
    monkeypatch.setattr(bounded_caches, "MOST_BYTES", 0)
    tidy(tmp_path)
    assert not newer.exists() and newest.exists()
