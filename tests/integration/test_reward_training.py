"""Runs of `--trainer reward`: what they learn, what they save, what loads it, and the same by TRL's trainer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from autotrain_llm import check, train
from autotrain_llm.planning.plan import LayoutPlan
from support.models import TEMPLATE, build_llama
from support.processes import run_together
from support.reward_models import build_bert, pair
from support.rows import write_rows


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", [pair(number) for number in range(46)])


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bert(tmp_path_factory.mktemp("models") / "bert")


def run(data: Path, output: Path, **flags: Any) -> Any:
    """A short run in float32, which logs every step."""
    settings = {"trainer": "reward", "lr": 1e-3, "epochs": 2, "batch_size": 8, "mixed_precision": "fp32"}
    columns = {"prompt_text_column": "prompt", "logging_steps": 1}
    return train(**{**settings, **columns, "data_path": str(data), "output_dir": str(output), **flags})


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def close(left: Path, right: Path, within: float, name: str = "model.safetensors") -> None:
    one, other = weights(left, name), weights(right, name)
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=within, msg=lambda said, key=key: f"{key}: {said}")


def scores(model: Any, folder: Path, texts: list[str]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model.eval()(**tokenizer(texts, return_tensors="pt", padding=True)).logits[:, 0].tolist()


def ordered(model: Any, folder: Path, numbers: range) -> float:
    """The share of pairs, as whole texts, whose better answer scores higher."""
    rows = [pair(number) for number in numbers]
    better = scores(model, folder, [row["prompt"] + row["chosen"] for row in rows])
    worse = scores(model, folder, [row["prompt"] + row["rejected"] for row in rows])
    return sum(one > other for one, other in zip(better, worse, strict=True)) / len(rows)


# --- what is learnt and saved ----------------------------------------------------------------------------------------


def test_it_orders_pairs_that_it_never_saw_and_loads_with_its_head(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "many.jsonl", [pair(number) for number in range(160)])
    report = run(data, tmp_path / "run", model="scratch:100k", lr=5e-3, epochs=6, valid_split="0.1")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert ordered(model, tmp_path / "run", range(1000, 1100)) >= 0.95
    assert report.metrics["eval_accuracy"] >= 0.9
    assert 0 <= report.metrics["eval_calibration"] < 0.2
    assert "eval_perplexity" not in report.metrics
    assert not any(name.startswith("_") for name in report.metrics)
    assert report.plan.model.architecture == "LlamaForSequenceClassification"
    assert report.plan.layout.name == "flat"
    assert not (tmp_path / "run" / "generation_config.json").exists()


def test_an_encoder_is_laid_out_padded_and_orders_unseen_pairs(bert: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "many.jsonl", [pair(number) for number in range(160)])
    report = run(data, tmp_path / "run", model=str(bert), lr=3e-3, epochs=8)
    reason = "bert is an encoder: its attention is bidirectional"
    assert report.plan.layout == LayoutPlan("padded", reason, packing=False)
    assert report.plan.model.architecture == "BertForSequenceClassification"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert ordered(model, tmp_path / "run", range(1000, 1100)) >= 0.95


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_an_adapter_is_saved_with_all_that_is_new_and_scores_as_the_merged_model(
    kind: str, llama: Path, bert: Path, pairs: Path, tmp_path: Path
) -> None:
    base = str({"llama": llama, "bert": bert}[kind])
    flags = {"model": base, "peft": True, "lora_r": 4, "lr": 1e-2, "seed": 7}
    run(pairs, tmp_path / "adapter", **flags)
    run(pairs, tmp_path / "merged", **flags, merge_adapter=True)
    torch.manual_seed(99)  # what the adapter doesn't hold would come out otherwise each time
    texts = [row[side] for row in map(pair, range(4)) for side in ("chosen", "rejected")]
    merged = scores(AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged"), tmp_path / "merged", texts)
    for loader in (AutoPeftModelForSequenceClassification, AutoModelForSequenceClassification):
        model = loader.from_pretrained(str(tmp_path / "adapter"), num_labels=1)
        assert scores(model, tmp_path / "adapter", texts) == pytest.approx(merged, abs=1e-4)
    assert len(set(merged)) > 4
    head = "score.weight" if kind == "llama" else "classifier.weight"
    names = weights(tmp_path / "adapter", "adapter_model.safetensors")
    assert any(name.endswith(head) for name in names)


def test_a_new_head_comes_from_the_seed(llama: Path, pairs: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(pairs, tmp_path / name, model=str(llama), seed=seed, epochs=1, lr=1e-12)
    heads = [weights(tmp_path / name)["score.weight"] for name in "abc"]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_reward_model_that_is_trained_further_keeps_its_head(llama: Path, pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "first", model=str(llama), lr=1e-2)
    report = run(pairs, tmp_path / "second", model=str(tmp_path / "first"), lr=1e-12, epochs=1)
    assert report.plan.model.head == "kept"
    close(tmp_path / "first", tmp_path / "second", 1e-6)


def test_an_adapter_that_scores_is_trained_further_with_its_head(llama: Path, pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "first", model=str(llama), peft=True, lr=1e-2)
    report = run(pairs, tmp_path / "second", model=str(tmp_path / "first"), peft=True, lr=1e-12, epochs=1)
    assert report.plan.model.head == "kept"
    close(tmp_path / "first", tmp_path / "second", 1e-6, "adapter_model.safetensors")


def test_an_adapter_that_generates_becomes_the_body_of_a_scorer(llama: Path, chat_rows: Path, pairs: Path, tmp_path: Path) -> None:  # fmt: skip
    sft = {"trainer": "sft", "model": str(llama), "lr": 1e-1, "epochs": 1, "batch_size": 8, "mixed_precision": "fp32"}
    for name, merged in (("adapter", False), ("whole", True)):
        train(**sft, data_path=str(chat_rows), output_dir=str(tmp_path / name), peft=True, merge_adapter=merged)
    for name in ("adapter", "whole"):
        run(pairs, tmp_path / f"{name}-scorer", model=str(tmp_path / name), epochs=1, lr=1e-12)
    left, right = weights(tmp_path / "adapter-scorer"), weights(tmp_path / "whole-scorer")
    left.pop("score.weight"), right.pop("score.weight")
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=0, atol=1e-5)
    assert not torch.equal(left["model.layers.0.mlp.up_proj.weight"], weights(llama)["model.layers.0.mlp.up_proj.weight"])  # fmt: skip


def test_a_tokenizer_without_a_padding_token_gets_one_in_the_saved_config(pairs: Path, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    base = build_llama(tmp_path / "base", TEMPLATE, pad_token_id=None)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(base)
    flags = {"trainer": "reward", "model": str(base), "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 8}
    assert [finding.code for finding in check(**flags)] == ["M175"]
    run(pairs, tmp_path / "run", model=str(base), lr=1e-2)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["pad_token_id"] == 2
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    texts = ["It is red.", "It is blue, blue, or one two three."]
    together = scores(model, tmp_path / "run", texts)
    alone = [scores(model, tmp_path / "run", [text])[0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)


# --- the same steps in other ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_accumulated_batches_are_one_large_batch(kind: str, llama: Path, bert: Path, pairs: Path, tmp_path: Path) -> None:  # fmt: skip
    common = {"model": str({"llama": llama, "bert": bert}[kind]), "optimizer": "sgd", "lr": 1e-1, "epochs": 1}
    run(pairs, tmp_path / "whole", **common, batch_size=12)
    run(pairs, tmp_path / "parts", **common, batch_size=3, gradient_accumulation=4)
    close(tmp_path / "whole", tmp_path / "parts", 2e-6)


def test_two_processes_train_the_same_model_as_one(llama: Path, pairs: Path, tmp_path: Path) -> None:
    words = "--trainer reward --lr 1e-1 --optimizer sgd --epochs 1 --mixed-precision fp32 --prompt-text-column prompt"
    # 46 pairs in steps of 15 leave the second process nothing to do in the last.
    common = [*words.split(), "--model", str(llama), "--data-path", str(pairs)]
    for name, processes, batch in (("one", 1, "15"), ("three", 3, "5")):
        words = ["llm", *common, "--batch-size", batch, "--output-dir", str(tmp_path / name)]
        run_together(words, tmp_path, processes)
    close(tmp_path / "one", tmp_path / "three", 2e-6)


def test_a_resumed_run_ends_with_the_same_weights(llama: Path, pairs: Path, tmp_path: Path) -> None:
    flags = {"model": str(llama), "peft": True, "epochs": 3, "lr": 1e-2}
    flags |= {"save_strategy": "steps", "save_steps": 5, "save_total_limit": 9}
    whole = run(pairs, tmp_path / "whole", **flags)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-5")
    resumed = run(pairs, tmp_path / "resumed", **flags, resume_from_checkpoint=checkpoint)
    losses = [[entry["loss"] for entry in report.history if "loss" in entry] for report in (whole, resumed)]
    assert len(losses[0]) == 18
    assert losses[1] == losses[0][5:]
    close(tmp_path / "whole", tmp_path / "resumed", 0, "adapter_model.safetensors")


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("lora", [False, True])
def test_trls_trainer_takes_the_same_steps(kind: str, lora: bool, llama: Path, bert: Path, pairs: Path, tmp_path: Path) -> None:  # fmt: skip
    # 46 pairs make batches of 2, all of the same size: TRL divides by batches.
    flags = {
        "model": str({"llama": llama, "bert": bert}[kind]),
        "batch_size": 2,
        "gradient_accumulation": 2,
        "epochs": 1,
    }
    flags |= {"lora_dropout": 0.0, "peft": True, "lora_r": 4} if lora else {}
    # An encoder's head has a bias, whose gradient is nothing but rounding in a difference of two scores: Adam would make steps of it.
    flags |= {"gradient_checkpointing": False, "max_steps": 10, "optimizer": "sgd", "lr": 1e-1}
    ours, theirs = (run(pairs, tmp_path / name, **flags, engine=name) for name in ("native", "trl"))
    # TRL's lowest and highest score are means over batches, ours are those of all rows.
    for name in ("loss", "accuracy", "margin", "mean_reward"):
        left, right = ([entry[name] for entry in report.history if name in entry] for report in (ours, theirs))
        assert len(left) == 10
        assert right == pytest.approx(left, rel=1e-6, abs=5e-6), name  # scores are sums in float32
    name = "adapter_model.safetensors" if lora else "model.safetensors"
    close(tmp_path / "native", tmp_path / "trl", 1e-5, name)


def test_smoothed_labels_are_learnt_less_surely(llama: Path, pairs: Path, tmp_path: Path) -> None:
    reports = [
        run(pairs, tmp_path / str(share), model=str(llama), lr=1e-2, epochs=6, label_smoothing=share)
        for share in (0.0, 0.3)
    ]
    sure, doubtful = (report.metrics["margin"] for report in reports)
    # With a share ε of wrong labels the loss is least where the odds are (1-ε) to ε.
    assert doubtful == pytest.approx(math.log(0.7 / 0.3), abs=0.4)
    assert sure > doubtful + 1
    codes = [finding.code for finding in check(**_given(pairs, llama), engine="trl", label_smoothing=0.3)]
    assert codes == ["P703"]


def _given(pairs: Path, model: Path) -> dict[str, Any]:
    return {
        "trainer": "reward", "model": str(model), "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 8,
    }  # fmt: skip
