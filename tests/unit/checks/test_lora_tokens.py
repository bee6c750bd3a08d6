"""Findings about rows of the embedding that are trained with an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from autotrain_llm.checks.preflight import Checked, preflight
from autotrain_llm.config.arguments import parse_kwargs
from autotrain_llm.config.resolved import resolve
from autotrain_llm.planning.trained_tokens import own_tokens
from support.light_models import build_light_model
from support.rows import write_rows


@pytest.fixture
def command(tmp_path: Path) -> dict[str, Any]:
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": f"{number}?", "completion": "yes"} for number in range(9)])
    flags = {"trainer": "sft", "data_path": str(rows), "lr": 2e-4, "epochs": 1, "batch_size": 2, "peft": True}
    return {**flags, "model": str(build_light_model(tmp_path / "model")), "output_dir": str(tmp_path / "run")}


def check(flags: dict[str, Any]) -> Checked:
    return preflight(resolve(parse_kwargs(flags).values))


def codes(checked: Checked) -> list[str]:
    return [finding.code for finding in checked.findings]


def test_tokens_are_named_by_text_or_id_in_any_order(command: dict[str, Any]) -> None:
    checked = check({**command, "trainable_tokens": '["<|im_end|>", 7]'})
    assert checked.plan is not None and checked.plan.adapter is not None, codes(checked)
    ids = checked.plan.adapter.tokens
    assert ids is not None and 7 in ids and len(ids) == 2 and codes(checked) == []
    without = check(command).plan
    assert without is not None and without.adapter is not None and without.adapter.tokens is None
    assert checked.plan.memory.checkpoint_bytes > without.memory.checkpoint_bytes


def test_a_head_with_a_bias_has_no_trained_rows(command: dict[str, Any], tmp_path: Path) -> None:
    """M197."""
    biased = tmp_path / "biased"
    shutil.copytree(command["model"], biased)
    tensors = load_file(biased / "model.safetensors")
    head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
    save_file({**tensors, "lm_head.bias": head[:, 0].contiguous()}, biased / "model.safetensors")
    assert "M197" in codes(check({**command, "model": str(biased), "trainable_tokens": "5"}))
    assert "M197" not in codes(check({**command, "model": str(biased)}))


@pytest.mark.parametrize("indices", [[5, 3, 4], {"embed_tokens": [3, 4], "lm_head": [4, 5]}])
def test_an_adapter_that_goes_on_keeps_the_tokens_that_it_has(indices: Any) -> None:
    assert own_tokens({"trainable_token_indices": indices}) == (3, 4, 5)
    assert own_tokens({"trainable_token_indices": None}) == () == own_tokens({})
