"""Which parameters the code that makes a plan reads."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from autotrain_llm.config.registry import PARAMS
from autotrain_llm.config.resolved import Config

# What decides a run. Rules, fixes and printing may read any parameter, and using it nowhere else would make it decorative.
DECIDING = ("autotrain_llm.planning", "autotrain_llm.context", "autotrain_llm.config")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the parameters that are read as attributes of any Config by the code that decides."""
    names: set[str] = set()
    usual = object.__getattribute__

    def noticing(config: Config, name: str) -> Any:
        if name in PARAMS and sys._getframe(1).f_globals["__name__"].startswith(DECIDING):
            names.add(name)
        return usual(config, name)

    monkeypatch.setattr(Config, "__getattribute__", noticing, raising=False)
    return names
