"""Every trainer with compiled layers logs the losses that it logs without."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.run.engine.flat.compiled import compile_layers
from autotrain_llm.run.session import training
from support.short_runs import LORA, short_run


@pytest.mark.parametrize("lora", [pytest.param(False, id="full"), pytest.param(True, id="lora")])
@pytest.mark.parametrize("name", TRAINERS)
def test_the_losses_of_compiled_layers_are_the_same(name, lora, llama: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(training, "compile_layers", partial(compile_layers, backend="eager"))
    changes = {"max_steps": 4, "lr": 1e-4, **(LORA | {"lora_dropout": 0.0} if lora else {})}
    usual, compiled = (
        short_run(name, llama, tmp_path, f"run-{setting}", compile=setting, **changes) for setting in ("off", "on")
    )
    pairs = list(zip(usual.history, compiled.history, strict=True))
    for before, after in pairs:
        if "loss" in before:
            assert after["loss"] == pytest.approx(before["loss"], abs=1e-5)
            assert after["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-4)
            assert after["compiled_graphs"] <= 4  # with and without gradients, training and evaluating
    assert "compiled_graphs" not in usual.history[0]
