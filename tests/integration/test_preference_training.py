"""Whole runs of dpo, orpo and kto: against TRL's own trainers, against themselves resumed or shared out, and what they learn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from autotrain_llm.api import train
from autotrain_llm.config.registry import TRAINERS as DECLARED
from support.models import TEMPLATE, build_llama
from support.processes import run_together
from support.rows import COLOURS, write_rows

# A float32's logarithm summed over an answer, twice: between two ways of computing it.
LOSS, WEIGHTS = 1e-6, 1e-6
PAIRS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
NEEDS = {"dpo": PAIRS, "orpo": PAIRS, "kto": {}}
TRAINERS = pytest.mark.parametrize("trainer", NEEDS)


def pairs(count: int) -> list[dict[str, Any]]:
    """Answers in which the first colour is better than the second; prompts and answers of very unequal lengths."""
    rows = []
    for number in range(count):
        better, worse = COLOURS[number % 8], COLOURS[(number + 1 + number // 8 % 7) % 8]
        rows.append(
            {
                "prompt": f"Number {number}: " + "which one, " * (number * number % 9) + f"{better} or {worse}?",
                "chosen": f" {better}" + " it is" * (number % 5),
                "rejected": f" {worse}" + " it is" * (number * 3 % 7),
            }
        )
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", pairs(24))


def run(trainer: str, data: Path, output: Path, **flags: Any) -> Any:
    settings = {
        "lr": 1e-3,
        "batch_size": 4,
        "mixed_precision": "fp32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "warmup_ratio": 0.0,
        **NEEDS[trainer],
        **flags,
    }
    if "max_steps" not in settings:
        settings = {"epochs": 1, **settings}
    return train(trainer=trainer, data_path=str(data), output_dir=str(output), **settings)


def logged(report: Any, name: str = "loss") -> list[float]:
    return [entry[name] for entry in report.history if name in entry]


def weights(report: Any) -> dict[str, torch.Tensor]:
    folder = report.output_dir
    adapter = folder / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else folder / "model.safetensors")


def furthest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


# ---- against TRL

LORA = {"peft": True, "lora_r": 4, "lora_dropout": 0.0, "lr": 1e-2}
SGD = {"optimizer": "sgd", "lr": 0.02}


@pytest.mark.parametrize(
    ("trainer", "flags"),
    [
        ("dpo", {}),
        ("dpo", {"dpo_beta": 0.2}),
        ("dpo", {**LORA, **SGD}),
        ("dpo", {"gradient_accumulation": 3}),
        ("dpo", {"dpo_loss": "robust", "label_smoothing": 0.1}),
        ("dpo", {"dpo_loss": "ipo"}),
        ("dpo", {"dpo_loss": "apo_zero"}),
        ("dpo", {"dpo_loss": "aot"}),
        ("dpo", {"dpo_loss": "sigmoid_norm", "epochs": 2}),
        ("kto", {}),
        ("kto", {"lr": 0.1, "kto_beta": 0.5}),
        ("kto", {**LORA, **SGD, "kto_undesirable_weight": 0.7}),
        ("kto", {"gradient_accumulation": 3, "kto_desirable_weight": 1.3, "epochs": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(map(str, value)) or "plain",
)
def test_it_takes_the_steps_of_trls_trainer(
    trainer: str, flags: dict[str, Any], data: Path, llama: Path, tmp_path: Path
) -> None:
    ours, theirs = (
        run(trainer, data, tmp_path / engine, model=str(llama), engine=engine, **{**SGD, **flags})
        for engine in ("native", "trl")
    )
    assert len(logged(ours)) == ours.plan.steps == len(logged(theirs))
    same = 10 * LOSS if "lr" in flags else LOSS  # float32 steps drift apart faster where they are larger
    assert logged(theirs) == pytest.approx(logged(ours), rel=same, abs=same)
    # Of accumulated batches TRL averages the means, whatever number of good and bad answers each has.
    for name in ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"):
        if trainer == "dpo" or "gradient_accumulation" not in flags:
            assert logged(theirs, name) == pytest.approx(logged(ours, name), rel=10 * same, abs=10 * same), name
    if trainer == "kto":
        assert logged(theirs, "kl") == pytest.approx(logged(ours, "kl"), rel=10 * same, abs=10 * same)
        assert max(logged(ours, "kl")) > 0 or "kto_beta" not in flags
    assert furthest(weights(ours), weights(theirs)) < WEIGHTS
    assert len(set(logged(ours))) > 1


# ---- what an answer is compared with


def references(report: Any) -> tuple[str, str]:
    decided = report.plan.objective.reference
    return decided.kind, decided.when


@pytest.fixture
def an_adapter(data: Path, llama: Path, tmp_path: Path) -> Path:
    run("orpo", data, tmp_path / "adapter", model=str(llama), peft=True, lora_r=4, lora_dropout=0.0, lr=1e-2)
    return tmp_path / "adapter"


def test_computed_beside_each_batch_or_beforehand_the_reference_is_the_same(
    data: Path, llama: Path, an_adapter: Path, tmp_path: Path
) -> None:
    cases = {
        "copy": {"model": str(llama)},
        "off": {"model": str(llama), **LORA},
        "as it was": {"model": str(an_adapter), "peft": True, "lr": 1e-2},
        "another": {"model": str(llama), "model_ref": str(an_adapter)},
        "another, for an adapter": {"model": str(llama), "model_ref": str(an_adapter), **LORA},
    }
    kinds = set()
    for name, flags in cases.items():
        beside = run("dpo", data, tmp_path / name / "beside", **SGD | flags, max_steps=6)
        before = run("dpo", data, tmp_path / name / "before", **SGD | flags, max_steps=7)
        kinds.add(references(beside)[0])
        assert references(beside)[0] == references(before)[0]
        assert (references(beside)[1], references(before)[1]) == ("online, with each batch", "once, before training")
        assert logged(before)[0] == pytest.approx(logged(beside)[0], abs=1e-6)
        at_start = logged(beside, "rewards/margins")[0]
        assert (abs(at_start) < 1e-6) == ("another" not in name), name
    assert len(kinds) == 4


def test_a_frozen_copy_whose_weights_are_rounded_once_says_what_it_said(
    data: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = run("dpo", data, tmp_path / "rounded", model=str(llama), **SGD, mixed_precision="bf16", max_steps=3)
    monkeypatch.setattr("autotrain_llm.run.engine.reference_model.cast_linear_weights", lambda model, _: model)
    whole = run("dpo", data, tmp_path / "whole", model=str(llama), **SGD, mixed_precision="bf16", max_steps=3)
    assert logged(rounded) == logged(whole)
    assert logged(rounded, "rewards/margins")[0] == 0


def test_an_adapter_that_is_trained_on_is_compared_with_itself_and_not_with_its_base(
    data: Path, an_adapter: Path, tmp_path: Path
) -> None:
    report = run("dpo", data, tmp_path / "run", model=str(an_adapter), peft=True, max_steps=6, lr=1e-2)
    rewards = logged(report, "rewards/chosen")
    assert abs(rewards[0]) < 1e-6 < abs(rewards[-1])
    assert sorted(path.name for path in report.output_dir.glob("adapter_model*")) == ["adapter_model.safetensors"]


@pytest.mark.parametrize("trainer", ["dpo", "kto"])
def test_training_that_goes_on_from_an_adapter_with_dropout_starts_as_its_reference(
    trainer: str, data: Path, llama: Path, tmp_path: Path
) -> None:
    made = run("orpo", data, tmp_path / "adapter", model=str(llama), peft=True, lora_r=4, lora_dropout=0.3, lr=1e-2)
    report = run(trainer, data, tmp_path / "run", model=str(made.output_dir), peft=True, max_steps=2, lr=1e-2)
    # Two equal models: -log σ(0) for a pair, and 1 - σ(0) for a single answer.
    assert logged(report, "loss")[0] == pytest.approx(math.log(2) if trainer == "dpo" else 0.5, abs=1e-6)
    assert report.plan.adapter is not None and report.plan.adapter.dropout == 0
    again = run("orpo", data, tmp_path / "orpo", model=str(made.output_dir), peft=True, max_steps=1)
    assert again.plan.adapter is not None and again.plan.adapter.dropout == 0.3


def test_what_the_reference_said_is_kept_by_content(
    data: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotrain_llm.run.algorithms.preference.reference_logps import ReferenceLogps

    computed: list[int] = []
    compute = ReferenceLogps._compute

    def counted(self: ReferenceLogps, items: Any, *others: Any) -> Any:
        computed.append(len(items))
        return compute(self, items, *others)

    monkeypatch.setattr(ReferenceLogps, "_compute", counted)
    first = run("dpo", data, tmp_path / "first", model=str(llama), epochs=2, valid_split="4")
    assert computed == [20, 4]
    again = run("dpo", data, tmp_path / "again", model=str(llama), epochs=2, valid_split="4", dpo_beta=0.3, seed=42)
    assert computed == [20, 4]
    assert again.history[0]["logps/chosen"] == first.history[0]["logps/chosen"]
    other = build_llama(tmp_path / "other", TEMPLATE, initializer_range=0.05)
    run("dpo", data, tmp_path / "third", model=str(other), epochs=2, valid_split="4")
    assert computed == [20, 4, 20, 4]


def test_dropout_does_not_part_a_model_from_its_reference(data: Path, tmp_path: Path) -> None:
    model = build_llama(tmp_path / "model", TEMPLATE, attention_dropout=0.3)
    report = run("dpo", data, tmp_path / "run", model=str(model), max_steps=1)
    assert abs(report.history[0]["rewards/margins"]) < 1e-6


# ---- the same run in other ways


@TRAINERS
def test_a_resumed_run_ends_with_the_same_weights(trainer: str, data: Path, llama: Path, tmp_path: Path) -> None:
    flags = {"model": str(llama), "epochs": 2, "save_strategy": "steps", "save_steps": 4, "save_total_limit": 9}
    whole = run(trainer, data, tmp_path / "whole", **flags)
    run(trainer, data, tmp_path / "part", **flags)
    resumed = run(
        trainer,
        data,
        tmp_path / "part",
        **flags,
        resume_from_checkpoint=str(tmp_path / "part" / "checkpoints" / "checkpoint-4"),
    )
    assert logged(resumed) == logged(whole)[4:]
    assert furthest(weights(resumed), weights(whole)) == 0.0


@TRAINERS
def test_two_processes_train_as_one(trainer: str, data: Path, llama: Path, tmp_path: Path) -> None:
    one = run(trainer, data, tmp_path / "one", model=str(llama), batch_size=10, **SGD, valid_split="3")
    words = ["llm", "--trainer", trainer, "--data-path", str(data), "--output-dir", str(tmp_path / "two")]
    words += ["--model", str(llama), "--batch-size", "5", "--epochs", "1", "--lr", "0.02", "--optimizer", "sgd"]
    words += ["--mixed-precision", "fp32", "--logging-steps", "1", "--warmup-ratio", "0", "--valid-split", "3"]
    words += ["--gradient-checkpointing", "false"]
    for name, value in NEEDS[trainer].items():
        words += ["--" + name.replace("_", "-"), value]
    run_together(words, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(logged(one), abs=1e-6)
    assert lines[-1]["eval_loss"] == pytest.approx(logged(one, "eval_loss")[-1], abs=1e-6)
    assert furthest(load_file(tmp_path / "two" / "model.safetensors"), weights(one)) < WEIGHTS


@pytest.mark.parametrize("trainer", ["dpo", "orpo"])
def test_accumulated_batches_are_one_large_batch(trainer: str, data: Path, llama: Path, tmp_path: Path) -> None:
    large, small = (
        run(
            trainer,
            data,
            tmp_path / str(size),
            model=str(llama),
            batch_size=size,
            gradient_accumulation=10 // size,
            **SGD,
        )
        for size in (10, 5)
    )
    assert logged(large) == pytest.approx(logged(small), abs=1e-6)
    assert furthest(weights(large), weights(small)) < WEIGHTS


@TRAINERS
def test_an_architecture_that_is_laid_out_padded_trains_too(trainer: str, data: Path, tmp_path: Path) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = build_llama(tmp_path / "model", TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    BloomForCausalLM(BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)).save_pretrained(model)
    report = run(trainer, data, tmp_path / "run", model=str(model), max_steps=2)
    assert report.plan.layout.name == "padded" and len(logged(report)) == 2


# ---- what is learnt, and what is left


@TRAINERS
def test_preferences_on_rows_that_were_held_out_rise(trainer: str, tmp_path: Path) -> None:
    """The first four colours are better than the others, whatever is asked."""
    data = write_rows(
        tmp_path / "pairs.jsonl",
        [
            pair | {"chosen": f" {COLOURS[number % 4]}", "rejected": f" {COLOURS[4 + number // 4 % 4]}"}
            for number, pair in enumerate(pairs(96))
        ],
    )
    flags = {"model": "scratch:300k", "valid_split": "16", "lr": 2e-3, "batch_size": 8, "warmup_ratio": 0.1}
    report = run(trainer, data, tmp_path / "run", **flags, epochs=3, load_best_model_at_end=True)
    untrained = run(trainer, data, tmp_path / "untrained", **{**flags, "lr": 1e-12}, max_steps=1)
    name, loss = "eval_rewards/accuracies", "eval_loss"
    assert report.metrics[name] >= 0.9 > 0.75 > untrained.metrics[name]
    assert report.metrics[loss] < untrained.metrics[loss]
    measured = {key.removeprefix("eval_") for key in report.metrics if key.startswith("eval_")}
    assert set(DECLARED[trainer].metrics) <= measured
    model = AutoModelForCausalLM.from_pretrained(report.output_dir)
    tokenizer = AutoTokenizer.from_pretrained(report.output_dir)
    assert model.generate(**tokenizer("Number 3:", return_tensors="pt"), max_new_tokens=3).shape[1] > 3


def test_kto_learns_from_rows_that_are_labelled(llama: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs(12)
        for side in ("chosen", "rejected")
    ]
    labelled = write_rows(tmp_path / "labelled.jsonl", rows)
    apart = run("kto", write_rows(tmp_path / "pairs.jsonl", pairs(12)), tmp_path / "pairs", model=str(llama), **SGD)
    report = run("kto", labelled, tmp_path / "labelled", model=str(llama), **SGD)
    assert report.plan.data.format == "prompt/completion/label"
    assert report.plan.steps == apart.plan.steps == 6
    assert logged(report) == pytest.approx(logged(apart), abs=1e-6)


@TRAINERS
def test_prompts_and_answers_are_cut_to_their_own_limits(trainer: str, data: Path, llama: Path, tmp_path: Path) -> None:
    report = run(
        trainer, data, tmp_path / "run", model=str(llama), max_steps=1, max_prompt_length=6, max_completion_length=2
    )
    assert report.plan.data.truncated_rows == 24
    free = run(trainer, data, tmp_path / "free", model=str(llama), max_steps=1)
    assert free.plan.data.truncated_rows == 0
    assert report.plan.data.total_tokens <= 24 * (6 + 2 * 2) < free.plan.data.total_tokens
