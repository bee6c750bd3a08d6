"""What handlers of signals raise."""

from __future__ import annotations

import gc
import os
import signal
import sys

import pytest

from autotrain_llm.context.signals import Stopped, handled, held_back, stop_raises


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


def test_a_signal_that_was_swallowed_is_given_to_the_next_handlers(capsys):
    received = []
    with stop_raises():
        InItsDestructor(interrupts)
        gc.collect()
        with handled(lambda signum, frame: received.append(signum)):
            assert received == [signal.SIGTERM]
        with pytest.raises(Stopped), stop_raises():
            pass
    with handled(lambda signum, frame: received.append(signum)):
        assert received == [signal.SIGTERM]  # the context that it was to end has ended


def test_a_signal_that_is_ending_its_context_is_not_given_to_the_handlers_of_what_tidies_up():
    received = []

    def tidy_up() -> None:
        with handled(lambda signum, frame: received.append(signum)), held_back():
            pass

    with pytest.raises(Stopped), stop_raises():
        try:
            interrupts()
        finally:
            tidy_up()
    assert received == []
