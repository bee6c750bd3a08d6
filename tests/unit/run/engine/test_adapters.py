"""Adapters of every kind that PEFT saves: merged, saved and loaded by transformers they compute what they computed as adapters."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from autotrain_llm.models.checks.every import check_model
from autotrain_llm.models.checks.target_modules import matches
from autotrain_llm.models.locate import locate
from autotrain_llm.models.metadata import read_metadata
from autotrain_llm.planning.plan import AdapterPlan
from autotrain_llm.run.engine.loading import from_located, keep_config, lora_config
from support.architecture_configs import small_config
from support.models import TEMPLATE, build_llama

IDS = torch.arange(3, 30)[None]
KINDS: dict[str, dict[str, Any]] = {
    "an embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "single tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
    "single tokens of embedding and head": {
        "target_modules": ["q_proj"],
        "trainable_token_indices": {"embed_tokens": [5, 6], "lm_head": [5, 6]},
    },
    "a whole embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "a whole head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "a head": {"target_modules": ["q_proj", "lm_head"]},
    "norms": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
}


@pytest.mark.parametrize("added", [0, 2], ids=["same tokens", "added tokens"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_adapter_computes_what_the_adapter_computes(kind: str, tied: bool, added: int, tmp_path: Path) -> None:
    base = build_llama(tmp_path / "base", TEMPLATE, tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(base)
    if added:
        model.resize_token_embeddings(model.config.vocab_size + added, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of tied matrices
        adapter = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", init_lora_weights=False, **KINDS[kind]))
        with torch.no_grad():
            for parameter in adapter.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
            expected = adapter.eval()(input_ids=IDS).logits
        adapter.save_pretrained(tmp_path / "adapter")
        located = locate(str(tmp_path / "adapter"), offline=True)
        if kind in ("an embedding", "a head") and added and not tied:  # PEFT does not save the rows of the other
            assert [finding.code for finding in check_model(read_metadata(located), "sft")] == ["M194"]
            return
        assert check_model(read_metadata(located), "sft") == []
        merged = from_located(located, torch.float32, {})
    assert all(parameter.requires_grad for parameter in merged.parameters())
    keep_config(merged)
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "adapted", "left_out"),
    [("falcon", "query_key_value", "lm_head"), ("phimoe", "q_proj", "router"), ("mamba", "in_proj", "out_proj")],
)
def test_all_linear_is_every_linear_layer_that_can_have_an_adapter(kind: str, adapted: str, left_out: str) -> None:
    model = AutoModelForCausalLM.from_config(small_config(kind))
    plan = AdapterPlan(2, 4.0, 0.0, False, False, ("all-linear",), False)
    names = {name for name, _ in get_peft_model(model, lora_config(plan, model)).named_parameters() if "lora_A" in name}
    assert any(f".{adapted}." in name for name in names)
    assert not any(f".{left_out}." in name for name in names)


@pytest.mark.parametrize(
    ("targets", "count"), [(("q_proj", "v_proj"), 4), ((r".*\.1\..*q_proj",), 1), ((r".*\.1\..*q_proj", "v_proj"), 3)]
)
def test_a_pattern_among_the_target_modules_names_what_it_matches(targets: tuple[str, ...], count: int) -> None:
    model = AutoModelForCausalLM.from_config(small_config("llama"))
    names = {name for name, _ in model.named_modules() if any(matches(target, name) for target in targets)}
    plan = AdapterPlan(2, 4.0, 0.0, False, False, targets, False)
    adapted = get_peft_model(model, lora_config(plan, model))
    trained = {name for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert len(trained) == len(names) == count
