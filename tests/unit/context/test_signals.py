"""What handlers of signals raise."""

from __future__ import annotations

import gc
import os
import signal
import sys

import pytest

from autotrain_llm.context.signals import Stopped, stop_raises


class InItsDestructor:
    """Python swallows what is raised here, and prints it."""

    def __init__(self, act) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


def interrupts() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):  # the handler is called between two of these
        pass


def test_a_signal_in_a_destructor_shows_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    with stop_raises():
        InItsDestructor(interrupts)
        gc.collect()
    assert capsys.readouterr().err == ""
    InItsDestructor(lambda: 1 / 0)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_signal_elsewhere_raises():
    with pytest.raises(Stopped), stop_raises():
        interrupts()
