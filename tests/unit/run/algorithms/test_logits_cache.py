"""The teacher's cached log-probabilities: never damaged ones, and never at the price of the run."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autotrain_llm.run.algorithms.distill import logits_cache
from autotrain_llm.run.algorithms.distill.logits_cache import CacheWriter, read

OFFSETS = np.array([0, 2, 5])
TOP_K = 3


def write(path):
    values = torch.arange(5 * TOP_K, dtype=torch.float32).reshape(5, TOP_K)
    writer = CacheWriter(path, OFFSETS, TOP_K)
    for row, span in enumerate((slice(0, 2), slice(2, 5))):
        topk = SimpleNamespace(ids=values[span].int(), logprobs=-values[span], rest=values[span, 0])
        writer.put(range(row, row + 1), topk)
    return writer.finish()


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ids", "logprobs", "rest"))


def test_what_was_written_is_read_again(tmp_path):
    written = write(tmp_path / "cache")
    assert same(written, read(tmp_path / "cache", OFFSETS, TOP_K))


@pytest.mark.parametrize("name", ["ids.npy", "logprobs.npy", "rest.npy", "kept.json"])
def test_a_changed_byte_makes_it_unusable(name, tmp_path):
    write(tmp_path / "cache")
    file = tmp_path / "cache" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)
    assert read(tmp_path / "cache", OFFSETS, TOP_K) is None


def test_a_disk_without_room_costs_the_cache_and_not_the_run(monkeypatch, tmp_path):
    allowed = [logits_cache.allocate, logits_cache.allocate]  # the third array does not fit

    def allocate(path, shape, dtype):
        if not allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        allowed.pop()(path, shape, dtype)

    monkeypatch.setattr(logits_cache, "allocate", allocate)
    written = write(tmp_path / "full" / "cache")
    monkeypatch.undo()
    assert same(written, write(tmp_path / "cache"))
    assert list((tmp_path / "full").iterdir()) == []
