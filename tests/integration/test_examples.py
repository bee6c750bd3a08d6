"""The examples run as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from support.paths import PROJECT

EXAMPLES = PROJECT / "examples"


def test_the_python_example_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("python_api", EXAMPLES / "python_api.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main(tmp_path) < 0.5
    said = capsys.readouterr().out
    assert "warning: dpo_beta only applies to DPO trainer, will be ignored" in said
    assert "240 steps are planned" in said
