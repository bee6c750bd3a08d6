"""What is tried in a child process ends in bounded time and memory, whatever it does, and leaves this process as it was."""

from __future__ import annotations

import os
import sys
import time

import pytest

from autotrain_llm.declare import bounded
from autotrain_llm.declare.bounded import breach


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 1)
    monkeypatch.setattr(bounded, "MEMORY", 256 << 20)


def forever() -> None:
    while True:
        pass


def hoard() -> list[bytes]:
    return [bytes(16 << 20) for _ in range(1000)]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (forever, "takes more than 1 second"),
        (hoard, "needs more than 256 MiB of memory"),
        (os.abort, "crashes (SIGABRT)"),
    ],
)
def test_what_has_no_end_is_named(work, said):
    assert said in breach(work)


def test_work_that_ends_is_no_breach_and_changes_nothing_here(capfd):
    seen: list[int] = []

    def work() -> None:
        seen.append(1)
        os.write(1, b"not shown")
        sys.exit(5)

    assert breach(work) is None
    assert seen == [] and capfd.readouterr().out == ""


def test_waiting_is_limited_too(monkeypatch):
    monkeypatch.setattr(bounded, "BUSY", 1)
    assert breach(lambda: time.sleep(60)) is not None


def test_a_limit_that_is_set_already_stays(monkeypatch):
    import resource

    monkeypatch.setattr(bounded, "_address_space", lambda: resource.RLIM_INFINITY >> 8)
    assert breach(lambda: None) is None
