"""A short run of every trainer, with its report: what a change breaks first."""

from __future__ import annotations

import json
import math
from pathlib import Path
from stat import S_IMODE

import pytest

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.declare.umask import permitted
from support.short_runs import LORA, short_run

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("lora", [pytest.param(False, id="full"), pytest.param(True, id="lora")])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_trains_and_leaves_a_model(name: str, lora: bool, llama: Path, tmp_path: Path) -> None:
    report = short_run(name, llama, tmp_path, **(LORA if lora else {}))
    losses = [json.loads(line).get("loss") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if loss is not None and math.isfinite(loss)]) >= 2
    weights = "adapter_model.safetensors" if lora else "model.safetensors"
    assert weights in report.files
    assert S_IMODE((tmp_path / "run" / weights).stat().st_mode) == permitted(0o666)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") > 3 and "could not be drawn" not in page
