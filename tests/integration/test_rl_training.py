"""Whole runs of ppo, grpo and spo: against TRL's own trainer, against themselves resumed or shared out, and what they learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from autotrain_llm.api import train
from autotrain_llm.config.registry import TRAINERS as DECLARED
from autotrain_llm.run.algorithms.rl.advantages import discounted, generalised_advantages, token_rewards
from support.models import TEMPLATE, build_llama
from support.processes import run_together
from support.reward_models import build_scorer
from support.rows import COLOURS, write_rows

REWARD = '''
def vowels(prompts, completions, **columns):
    """The share of an answer's letters that are vowels."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in completions]


def shortness(completions, **columns):
    return [-len(text) / 100 for text in completions]
'''
PROMPTS = [{"prompt": f"{colour} is {other}"} for colour in COLOURS for other in COLOURS]
TRAINERS = pytest.mark.parametrize("trainer", [name for name, one in DECLARED.items() if one.samples])
# A float32's logarithm and what follows from it, between two ways of computing it.
CLOSE = 1e-6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", PROMPTS[:24])


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(REWARD)
    return tmp_path / "rewards.py"


def run(trainer: str, data: Path, rewards: Path, output: Path, **flags: Any) -> Any:
    sizes = {"rl_chunk_size": 16, "rl_mini_batch_size": 8, "batch_size": 8, "rl_max_new_tokens": 6}
    of_trainer = {"grpo": {"rl_num_generations": 4}, "spo": {"spo_first_answers": 2}}.get(trainer, {})
    settings = {
        "lr": 1e-3,
        "mixed_precision": "fp32",
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "warmup_ratio": 0.0,
        "rl_reward_fn": f"{rewards}:vowels",
        **sizes,
        **of_trainer,
        **flags,
    }
    if "max_steps" not in settings:
        settings = {"epochs": 1, **settings}
    return train(trainer=trainer, data_path=str(data), output_dir=str(output), **settings)


def logged(report: Any, name: str = "loss") -> list[float]:
    return [entry[name] for entry in report.history if name in entry]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All that was trained: the model or its adapter, and the value head."""
    adapter, head = folder / "adapter_model.safetensors", folder / "value_head.safetensors"
    found = load_file(adapter if adapter.exists() else folder / "model.safetensors")
    return found | ({f"value head: {name}": one for name, one in load_file(head).items()} if head.exists() else {})


def furthest(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


# ---- against TRL

SGD = {"optimizer": "sgd", "lr": 0.5, "scheduler": "constant"}
ONE_STEP = {"rl_chunk_size": 24, "rl_mini_batch_size": 24, "batch_size": 24, "max_steps": 4}


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"rl_num_ppo_epochs": 2, "rl_clip_range": 0.01, "lr": 3.0},
        {"rl_kl_coef": 0.1, "rl_num_ppo_epochs": 2},
        {"rl_temperature": 0.7, "rl_entropy_coef": 0.02},
        {"rl_advantage": "dr_grpo", "batch_size": 12},
        {"peft": True, "lora_r": 4, "lora_dropout": 0.0, "rl_kl_coef": 0.2, "rl_num_ppo_epochs": 2},
    ],
    ids=lambda flags: ",".join(flags) or "plain",
)
def test_grpo_takes_the_steps_of_trls_trainer(
    flags: dict[str, Any], data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    """TRL is handed the answers that this package's sampler writes; log-probabilities, advantages, loss and steps are its own."""
    ours, theirs = (
        run("grpo", data, rewards, tmp_path / engine, model=str(llama), engine=engine, **{**ONE_STEP, **SGD, **flags})
        for engine in ("native", "trl")
    )
    assert len(logged(ours)) == len(logged(theirs)) == 4
    for name in ("loss", "grad_norm", "entropy"):
        assert logged(theirs, name) == pytest.approx(logged(ours, name), rel=1e-4, abs=1e-5), name
    assert logged(theirs, "reward")[0] == pytest.approx(logged(ours, "reward")[0], abs=CLOSE)
    assert furthest(weights(ours.output_dir), weights(theirs.output_dir)) < CLOSE
    if "rl_clip_range" in flags:
        assert logged(ours, "clip_fraction")[1] > 0


# ---- the same run in other ways

KINDS = {
    "ppo": {},
    "ppo, separate": {"rl_value_model": "separate", "rl_kl_target": 0.5},
    "ppo, adapter": {"peft": True, "lora_r": 4, "lr": 1e-2},
    "ppo, both": {"peft": True, "lora_r": 4, "lr": 1e-2, "rl_value_model": "separate"},
    "ppo, corrected": {"rl_value_model": "corrected", "rl_reward_model_path": "{scorer}"},
    "ppo, reward and adapter": {
        "peft": True,
        "lora_r": 4,
        "rl_value_model": "reward",
        "rl_reward_model_path": "{scorer}",
    },
    "grpo": {"rl_num_ppo_epochs": 2, "rl_kl_coef": 0.1, "rl_kl_target": 0.5},
    "spo": {"rl_num_ppo_epochs": 2, "rl_kl_coef": 0.1, "rl_kl_target": 0.5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_resumed_in_the_middle_of_a_phase_ends_with_the_same_weights(
    kind: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    flags = {"model": str(llama), "save_strategy": "steps", "save_steps": 3, "save_total_limit": 99, **KINDS[kind]}
    flags |= {"max_steps": 12, "valid_split": "4", "eval_strategy": "steps", "eval_steps": 3}
    if "rl_reward_model_path" in flags:
        flags["rl_reward_model_path"] = str(build_scorer(llama, tmp_path / "scorer"))
    trainer = kind.partition(",")[0]
    whole = run(trainer, data, rewards, tmp_path / "run", **flags)
    kept = weights(tmp_path / "run")
    shown = (tmp_path / "run" / "samples.jsonl").read_text()
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    with np.load(checkpoint / "rollouts.npz", allow_pickle=False) as phase:
        assert 3 % 8 != 0 and phase["first_step"] == 0
    resumed = run(trainer, data, rewards, tmp_path / "run", **flags, resume_from_checkpoint=str(checkpoint))
    for name in ("loss", "reward", "eval_reward"):
        assert logged(resumed, name) == logged(whole, name)[-len(logged(resumed, name)) :], name
    assert len(logged(resumed)) == 9
    assert furthest(weights(tmp_path / "run"), kept) == 0.0
    assert (tmp_path / "run" / "samples.jsonl").read_text() == shown


@TRAINERS
def test_accumulated_batches_are_one_large_batch(
    trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    large, small = (
        run(trainer, data, rewards, tmp_path / str(size), model=str(llama), batch_size=size, max_steps=10, **SGD)
        for size in (8, 2)
    )
    assert small.plan.arguments.gradient_accumulation_steps == 4
    assert logged(large) == pytest.approx(logged(small), abs=1e-5)
    assert furthest(weights(large.output_dir), weights(small.output_dir)) < 1e-5


@TRAINERS
def test_two_processes_train_as_one(trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path) -> None:
    # 21 prompts: the last phase of a pass is smaller, and has batches in which a process finds no answer.
    flags = {"valid_split": "3", "max_steps": 12, "rl_kl_coef": 0.1}
    one = run(trainer, data, rewards, tmp_path / "one", model=str(llama), **SGD, **flags)
    words = ["llm", "--trainer", trainer, "--data-path", str(data), "--output-dir", str(tmp_path / "two")]
    words += ["--model", str(llama), "--batch-size", "4", "--lr", "0.5", "--optimizer", "sgd"]
    words += ["--scheduler", "constant", "--rl-chunk-size", "16", "--rl-mini-batch-size", "8"]
    words += ["--rl-max-new-tokens", "6", "--rl-reward-fn", f"{rewards}:vowels", "--rl-kl-coef", "0.1"]
    words += ["--mixed-precision", "fp32", "--logging-steps", "1", "--warmup-ratio", "0", "--valid-split", "3"]
    words += ["--gradient-checkpointing", "false", "--max-steps", "12"]
    words += {"grpo": ["--rl-num-generations", "4"], "spo": ["--spo-first-answers", "2"]}.get(trainer, [])
    run_together(words, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["reward"] for line in lines if "reward" in line] == pytest.approx(logged(one, "reward"), abs=1e-6)
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(logged(one), abs=1e-5)
    assert lines[-1]["eval_reward"] == pytest.approx(logged(one, "eval_reward")[-1], abs=1e-6)
    assert furthest(weights(tmp_path / "two"), weights(one.output_dir)) < 1e-5


@TRAINERS
def test_an_architecture_that_is_laid_out_padded_trains_too(
    trainer: str, data: Path, rewards: Path, tmp_path: Path
) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = build_llama(tmp_path / "model", TEMPLATE)
    size = len(AutoTokenizer.from_pretrained(model))
    torch.manual_seed(0)
    BloomForCausalLM(BloomConfig(vocab_size=size, hidden_size=16, n_layer=1, n_head=2)).save_pretrained(model)
    report = run(trainer, data, rewards, tmp_path / "run", model=str(model), max_steps=2, valid_split="2")
    assert report.plan.layout.name == "padded" and len(logged(report)) == 2
    assert logged(report, "approx_kl")[0] == pytest.approx(0, abs=1e-9) and logged(report, "eval_reward")


# ---- phases


def phases(report: Any) -> list[int]:
    """The phase of each of the samples that were shown."""
    lines = (report.output_dir / "samples.jsonl").read_text().splitlines()
    return [json.loads(line)["phase"] for line in lines]


def test_a_policy_that_has_moved_too_far_samples_anew(data: Path, rewards: Path, llama: Path, tmp_path: Path) -> None:
    flags = {"model": str(llama), "max_steps": 12, "lr": 1e-2, "save_strategy": "steps", "save_steps": 5}
    flags |= {"save_total_limit": 99}
    patient = run("ppo", data, rewards, tmp_path / "patient", **flags)
    hasty = run("ppo", data, rewards, tmp_path / "hasty", **flags, rl_target_kl=1e-6)
    assert max(phases(patient)) == 2 < max(phases(hasty))
    assert len(logged(patient)) == len(logged(hasty)) == 12
    kept = weights(tmp_path / "hasty")
    checkpoint = tmp_path / "hasty" / "checkpoints" / "checkpoint-5"
    run("ppo", data, rewards, tmp_path / "hasty", **flags, rl_target_kl=1e-6, resume_from_checkpoint=str(checkpoint))
    assert furthest(weights(tmp_path / "hasty"), kept) == 0.0


def test_a_price_with_a_target_moves_and_one_without_stays(
    data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    flags = {"model": str(llama), "rl_num_ppo_epochs": 1, "max_steps": 6}
    prices = logged(run("ppo", data, rewards, tmp_path / "moved", **flags, rl_kl_target=50.0), "kl_coef")
    # Far below its target: each phase makes it cheaper by two hundredths. 16 answers in two steps, then 8 in one.
    assert prices == pytest.approx([0.2, 0.2, 0.2 * 0.98, 0.2 * 0.98**2, 0.2 * 0.98**2, 0.2 * 0.98**3])
    assert set(logged(run("ppo", data, rewards, tmp_path / "kept", **flags), "kl_coef")) == {0.2}


# ---- what is learnt, and what is left


@pytest.mark.parametrize(
    ("trainer", "flags"),
    [
        ("ppo", {"max_steps": 140, "rl_kl_coef": 0.0, "rl_gamma": 1.0}),
        ("grpo", {"max_steps": 40}),
        ("grpo", {"max_steps": 40, "rl_advantage": "rloo"}),
        ("spo", {"max_steps": 40}),
    ],
    ids=["ppo", "grpo", "rloo", "spo"],
)
def test_it_finds_what_is_rewarded(
    trainer: str, flags: dict[str, Any], rewards: Path, llama: Path, tmp_path: Path
) -> None:
    """Answers of nothing but vowels get 1, and no answer gets more; at first about a tenth of the letters are vowels."""
    data = write_rows(tmp_path / "prompts.jsonl", PROMPTS)
    sizes = {"rl_chunk_size": 64, "rl_mini_batch_size": 64, "batch_size": 64, "save_strategy": "no", "lr": 1e-2}
    settings = {"model": str(llama), "scheduler": "constant", "valid_split": "8", **sizes, **flags}
    report = run(trainer, data, rewards, tmp_path / "run", **settings)
    assert logged(report, "reward")[0] < 0.2
    assert report.metrics["eval_reward"] > 0.9


@TRAINERS
def test_the_price_of_divergence_counts_once_the_policy_has_moved(
    trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    flags = {"model": str(llama), "max_steps": 3, "rl_num_ppo_epochs": 1, "rl_mini_batch_size": 16, "batch_size": 16}
    cheap, dear = (run(trainer, data, rewards, tmp_path / str(n), **flags, **SGD, rl_kl_coef=n) for n in (0.1, 2.0))
    assert logged(cheap)[0] == pytest.approx(logged(dear)[0], abs=CLOSE)
    assert abs(logged(cheap)[2] - logged(dear)[2]) > 1e-5
    assert logged(dear, "kl")[0] == pytest.approx(0, abs=CLOSE) and abs(logged(dear, "kl")[2]) > 1e-4


@TRAINERS
def test_held_out_prompts_are_measured_and_the_best_checkpoint_is_kept(
    trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    flags = {"valid_split": "6", "eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}
    flags |= {"max_steps": 16, "lr": 1e-2, "load_best_model_at_end": True, "save_total_limit": 1}
    report = run(trainer, data, rewards, tmp_path / "run", model=str(llama), **flags)
    assert report.plan.arguments.metric_for_best_model == "eval_reward"
    assert report.plan.arguments.greater_is_better is True
    measured = {key.removeprefix("eval_") for key in report.metrics if key.startswith("eval_")}
    # Without a penalty on it, the divergence from the reference model is not measured.
    unknown = set() if report.plan.objective.reference else {"kl", "objective/kl"}
    assert set(DECLARED[trainer].metrics) - unknown <= measured
    assert report.metrics["eval_reward"] == max(logged(report, "eval_reward"))


SEARCHED = {
    "ppo": {"lr": [1e-4, 1e-2, "log"], "rl_kl_coef": [0.0, 0.2]},
    "grpo": {"rl_kl_coef": [0.0, 0.1], "rl_advantage": ["grpo", "rloo"]},
    "spo": {"spo_half_life": [0.01, 0.5, "log"], "rl_kl_coef": [0.0, 0.1]},
}


@TRAINERS
def test_a_sweep_keeps_the_trial_whose_answers_to_held_out_prompts_are_worth_most(
    trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    flags = {"use_sweep": True, "sweep_n_trials": 2, "sweep_params": SEARCHED[trainer], "valid_split": "4"}
    flags |= {"max_steps": 3, "lr": 1e-2, "use_enhanced_eval": True}
    report = run(trainer, data, rewards, tmp_path / "run", model=str(llama), **flags)
    trials = json.loads((tmp_path / "run" / "sweep" / "trials.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete"], trials
    best = max(trial["metric"] for trial in trials)
    assert report.metrics["eval_reward"] == pytest.approx(best, abs=1e-12)
    assert weights(tmp_path / "run") and (tmp_path / "run" / "value_head.safetensors").exists() == (trainer == "ppo")


@TRAINERS
def test_the_finished_model_is_a_plain_one_with_its_value_head_and_samples_beside_it(
    trainer: str, data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    both = f"{rewards}:vowels,{rewards}:shortness"
    settings = {"model": str(llama), "max_steps": 3, "rl_reward_fn": both, "rl_reward_weights": "2,1"}
    report = run(trainer, data, rewards, tmp_path / "run", **settings)
    folder = report.output_dir
    assert set(load_file(folder / "model.safetensors")) == set(load_file(llama / "model.safetensors"))
    assert (folder / "value_head.safetensors").exists() == (trainer == "ppo")
    assert ("value_head.safetensors" in report.files) == (trainer == "ppo") and "samples.jsonl" in report.files
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.generate(**tokenizer("red is", return_tensors="pt"), max_new_tokens=3).shape[1] > 3
    first = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    assert first["step"] == 1 and first["prompt"] in [row["prompt"] for row in PROMPTS]
    assert set(first["rewards"]) == {"vowels", "shortness"}
    assert first["reward"] == pytest.approx(2 * first["rewards"]["vowels"] + first["rewards"]["shortness"])
    assert {"rewards/vowels", "rewards/shortness", "completions/finished", "advantage_std"} <= report.metrics.keys()
    again = run(trainer, data, rewards, tmp_path / "again", **settings)
    assert furthest(weights(folder), weights(again.output_dir)) == 0.0


@pytest.mark.parametrize("kind", ["shared", "separate", "reward", "corrected"])
def test_values_learn_to_expect_what_comes(kind: str, data: Path, rewards: Path, llama: Path, tmp_path: Path) -> None:
    """The prompt alone decides, so that all of the return can be known beforehand."""
    rewards.write_text("def of_prompt(prompts, **rest): return [float(prompt < 'c') for prompt in prompts]")
    flags = {"model": str(llama), "rl_kl_coef": 0.0, "rl_gamma": 1.0, "rl_gae_lambda": 1.0, "max_steps": 40}
    sizes = {"rl_chunk_size": 24, "rl_mini_batch_size": 24, "batch_size": 24, "lr": 1e-2, "rl_clip_range": 1e-6}
    whole = {"rl_reward_fn": f"{rewards}:of_prompt", "rl_value_clip_range": 10.0, "rl_value_model": kind}
    if kind in ("reward", "corrected"):
        whole |= {"rl_reward_model_path": str(build_scorer(llama, tmp_path / "scorer")), "rl_reward_weights": "0.1,1"}
    report = run("ppo", data, rewards, tmp_path / "run", **flags, **sizes, **whole, scheduler="constant")
    assert logged(report, "explained_variance")[0] == pytest.approx(
        0, abs=1e-9 if kind in ("shared", "separate") else 0.1
    )
    assert logged(report, "explained_variance")[-1] > 0.5


def test_of_the_reward_models_word_as_much_counts_as_foretells_what_comes(
    data: Path, rewards: Path, llama: Path, tmp_path: Path
) -> None:
    """In the first phase the slope of least squares, then three tenths of the way to what each phase finds; the head makes up for the rest."""
    scorer = str(build_scorer(llama, tmp_path / "scorer"))
    flags = {"model": str(llama), "max_steps": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 9}
    sizes = {"rl_chunk_size": 24, "rl_mini_batch_size": 24, "rl_num_ppo_epochs": 1, "lr": 1e-2, "rl_gamma": 0.9}
    whole = flags | sizes | {"rl_reward_model_path": scorer, "rl_reward_fn": None, "rl_kl_coef": 0.1}
    report = run("ppo", data, rewards, tmp_path / "run", **whole)
    trusted: list[float] = []
    for step in (1, 2, 3):
        with np.load(
            tmp_path / "run" / "checkpoints" / f"checkpoint-{step}" / "rollouts.npz", allow_pickle=False
        ) as phase:
            held = dict(phase)
        weight, apart = float(held["reward_value_weight"]), held["logprobs"] - held["reference"]
        said, head = held["baseline"] / weight, held["values"] - held["baseline"]
        assert bool(head.any()) == (step > 1)
        each = token_rewards(held["rewards"], apart, held["lengths"], 0.1)
        left = discounted(each, held["lengths"], 0.9) - head
        best = min(max(float(np.polyfit(said, left, 1)[0]), 0.0), 1.0)
        trusted.append(best if not trusted else trusted[-1] + 0.3 * (best - trusted[-1]))
        assert 0 < weight < 1 and weight == pytest.approx(trusted[-1], abs=1e-9)
        advantages, returns = generalised_advantages(each, held["values"], held["lengths"], 0.9, 0.95)
        np.testing.assert_allclose(held["returns"], returns, atol=1e-9)
        np.testing.assert_allclose(held["advantages"], (advantages - advantages.mean()) / advantages.std(), atol=1e-6)
    assert logged(report, "reward_value_weight") == pytest.approx(trusted)


def test_the_guides_two_steps_train_a_reward_model_on_an_encoder_and_a_policy_from_it(
    rewards: Path, llama: Path, tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    encoder = build_llama(tmp_path / "bert", None)
    size = len(AutoTokenizer.from_pretrained(encoder))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertForMaskedLM(BertConfig(vocab_size=size, **shape)).save_pretrained(encoder)
    pairs = [row | {"chosen": "red blue green", "rejected": "11 22 33"} for row in PROMPTS]
    train(
        trainer="reward",
        model=str(encoder),
        data_path=str(write_rows(tmp_path / "pairs.jsonl", pairs)),
        lr=1e-3,
        max_steps=4,
        batch_size=8,
        output_dir=str(tmp_path / "reward_model"),
    )
    prompts = write_rows(tmp_path / "prompts.jsonl", PROMPTS[:16])
    flags = {"rl_reward_fn": None, "rl_reward_model_path": str(tmp_path / "reward_model"), "peft": True, "lora_r": 8}
    report = run("ppo", prompts, rewards, tmp_path / "run", model=str(llama), **flags, max_steps=4, valid_split="4")
    assert len(set(logged(report, "reward"))) == 1 and logged(report, "rewards/reward_model") == logged(
        report, "reward"
    )
    assert np.isfinite(report.metrics["eval_reward"]) and (report.output_dir / "adapter_model.safetensors").exists()


# ---- enhanced evaluation

ANSWERED = [{"prompt": row["prompt"], "answer": "red and blue"} for row in PROMPTS[:12]] + PROMPTS[12:24]


@TRAINERS
def test_answers_of_an_evaluation_are_compared_with_those_of_the_rows_and_saved(trainer, rewards, tmp_path, llama):
    data = write_rows(tmp_path / "answered.jsonl", ANSWERED)
    flags = {"use_enhanced_eval": True, "eval_metrics": "reward,kl,chrf,exact_match", "eval_save_predictions": True}
    report = run(
        trainer,
        data,
        rewards,
        tmp_path / "run",
        model=str(llama),
        valid_split="0.5",
        rl_kl_coef=0.0,
        max_steps=2,
        **flags,
    )
    saved = [json.loads(line) for line in (tmp_path / "run" / "eval" / "predictions.jsonl").read_text().splitlines()]
    before = (tmp_path / "run" / "eval" / "predictions_before.jsonl").read_text().splitlines()
    assert len(saved) == len(before) == 12
    answered = [row for row in saved if row["reference"] is not None]
    assert 0 < len(answered) < 12
    for row in saved:
        assert {"reward", "rewards/vowels", "objective/kl"} <= row["scores"].keys()
        assert ("chrf" in row["scores"]) == (row["reference"] is not None)
    after = report.evaluation["after"]
    assert after["reward"] == pytest.approx(np.mean([row["scores"]["reward"] for row in saved]), abs=1e-6)
    assert after["objective/kl"] == pytest.approx(np.mean([row["scores"]["objective/kl"] for row in saved]), abs=1e-6)
    matches = [row["scores"]["exact_match"] for row in answered]
    assert after["exact_match"] == pytest.approx(np.mean(matches), abs=1e-6)
    assert report.evaluation["before"]["kl"] == pytest.approx(0, abs=CLOSE)
    assert report.plan.objective.reference.when == "in each evaluation"
    assert "kl_coef" not in report.history[-1]


def test_measuring_the_divergence_changes_nothing_about_the_training(data, rewards, tmp_path, llama):
    found = {}
    for name, metrics in (("with", "reward,kl"), ("without", "reward")):
        flags = {"use_enhanced_eval": True, "eval_metrics": metrics, "valid_split": "0.5", "max_steps": 2}
        run("grpo", data, rewards, tmp_path / name, model=str(llama), **flags)
        found[name] = weights(tmp_path / name)
    assert furthest(found["with"], found["without"]) == 0
