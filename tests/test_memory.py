"""Memory that a step has used stays with the process for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autotrain_llm.run.memory import keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
from autotrain_llm.run.memory import keep_freed_memory

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
