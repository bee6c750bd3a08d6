"""A run trains the weights that its plan says, and no others."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from autotrain_llm.config.registry import TRAINERS
from support.models import build_other
from support.short_runs import LORA, short_run


@pytest.fixture(scope="module")
def adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    short_run("sft", llama, folder, **LORA)
    return folder / "run"


@pytest.mark.parametrize("name", TRAINERS)
def test_an_adapter_without_peft_is_merged_and_all_of_it_is_trained(name: str, adapter: Path, tmp_path: Path) -> None:
    report = short_run(name, adapter, tmp_path)
    assert "model.safetensors" in report.files
    after = load_file(tmp_path / "run" / "model.safetensors")
    merged = AutoModelForCausalLM.from_pretrained(adapter).state_dict()
    unchanged = [key for key, tensor in after.items() if key in merged and torch.equal(tensor, merged[key])]
    assert not unchanged


def test_the_first_loss_of_dpo_is_ln_2_although_the_model_has_dropout(llama: Path, tmp_path: Path) -> None:
    opt = build_other(tmp_path / "opt", "opt", llama, dropout=0.1, max_position_embeddings=256)
    report = short_run("dpo", opt, tmp_path)
    assert report.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("name", [name for name, trainer in TRAINERS.items() if trainer.samples])
def test_the_first_ratio_is_1_for_an_adapter_that_was_trained_with_dropout(
    name: str, llama: Path, tmp_path: Path
) -> None:
    short_run("sft", llama, tmp_path, "adapter", **LORA, lora_dropout=0.5, lr=1e-2, max_steps=6)
    report = short_run(name, tmp_path / "adapter", tmp_path, peft=True)
    assert report.history[0]["clip_fraction"] == 0
    assert report.history[0]["approx_kl"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", TRAINERS)
def test_every_field_of_config_json_is_that_of_the_source(name: str, llama: Path, tmp_path: Path) -> None:
    model = build_other(tmp_path / "opt", "opt", llama, dropout=0.1, layerdrop=0.01, max_position_embeddings=256)
    short_run(name, model, tmp_path, save_strategy="steps", save_steps=1)
    source = json.loads((model / "config.json").read_text())
    if TRAINERS[name].trains_a_scorer:
        # A classifier of one label, whose padding token says where the score is read.
        source["architectures"] = ["OPTForSequenceClassification"]
        source |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "checkpoint-1"):
        assert json.loads((folder / "config.json").read_text()) == source


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_the_loss_that_balances_routers_is_a_term_of_the_loss(name: str, llama: Path, tmp_path: Path) -> None:
    histories = {}
    for weight in (0.0, 2.0):
        experts = {"output_router_logits": True, "router_aux_loss_coef": weight, "max_position_embeddings": 256}
        model = build_other(tmp_path / f"mixtral-{weight}", "mixtral", llama, **experts)
        histories[weight] = short_run(name, model, tmp_path, f"run-{weight}", valid_split=2, eval_steps=1).history
    plain, balanced = histories[0.0], histories[2.0]
    assert "router_loss" not in plain[0]
    assert balanced[0]["loss"] == pytest.approx(plain[0]["loss"] + 2.0 * balanced[0]["router_loss"], abs=1e-5)
    evaluation = next(entry for entry in balanced if "eval_loss" in entry)
    if name == "sft":
        cross_entropy = evaluation["eval_loss"] - 2.0 * evaluation["eval_router_loss"]
        assert evaluation["eval_perplexity"] == pytest.approx(math.exp(cross_entropy), rel=1e-4)


def test_the_class_of_an_architecture_adds_no_token_to_a_tokenizer(llama: Path, tmp_path: Path) -> None:
    """Qwen2Tokenizer, which AutoTokenizer takes for a Qwen2 whatever its files are, adds <|endoftext|>."""
    model = build_other(tmp_path / "qwen2", "qwen2", llama, max_position_embeddings=256)
    report = short_run("sft", model, tmp_path)
    source, saved = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (model, tmp_path / "run"))
    assert saved.get_vocab() == source.get_vocab()
    assert report.files
    assert short_run("sft", tmp_path / "run", tmp_path, "again").files
