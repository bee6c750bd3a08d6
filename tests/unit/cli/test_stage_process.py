"""The process of a stage whose driver is gone."""

from __future__ import annotations

import io
import sys

from autotrain_llm.cli.stage_process import stage_process


def test_a_stage_whose_driver_was_killed_before_its_order_ends_without_a_word(monkeypatch, capsys):
    for written in ("", '{"layers": {'):
        monkeypatch.setattr(sys, "stdin", io.StringIO(written))
        assert stage_process() == 143
    assert capsys.readouterr() == ("", "")
