"""What stays with the process from one step to the next: memory that was freed, and the kernels that a step needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autotrain_llm.planning.memory_model import MOST_KERNELS, kernels_kept
from autotrain_llm.run.engine.allocator import KERNELS, keep_freed_memory, limit_cached_kernels

FAULTS = """
import resource, sys
import numpy as np
from autotrain_llm.run.engine.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def used_and_freed():
    before = faults()
    np.empty(25_000_000).fill(1.0)
    return faults() - before

used_and_freed()
sys.stdout.write(str(min(used_and_freed() for _ in range(3))))
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's setting")
def test_memory_that_was_freed_is_not_given_back_and_asked_for_again() -> None:
    assert page_faults("kept") < 8
    assert page_faults("as it is") > 50


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


def test_as_many_kernels_are_kept_as_a_step_needs() -> None:
    # What one step compiled, counted with ONEDNN_VERBOSE=2: rows of 1024 and 318 tokens 57 products, of 246 tokens together 15.
    assert 57 < kernels_kept(1342, 1024) < 2 * 57
    assert 15 < kernels_kept(246, 200) < kernels_kept(1342, 1024)
    assert kernels_kept(8192, 8192) > 4 * kernels_kept(1342, 1024)  # a long row's blocks are narrow
    assert kernels_kept(10**6, 1024) == MOST_KERNELS


def test_what_was_said_of_kernels_from_outside_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    limit_cached_kernels(None)
    assert KERNELS not in os.environ
    limit_cached_kernels(250)
    assert os.environ[KERNELS] == "250"
    limit_cached_kernels(300)
    assert os.environ[KERNELS] == "250"
