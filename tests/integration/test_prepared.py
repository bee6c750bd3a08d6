"""Training from a folder that `autotrain prepare` wrote gives the weights and the metrics of training from its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm import train
from autotrain_llm.cli.main import main
from support.rows import questions, write_rows
from support.short_runs import SCORE

TRAINED: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "sft": (questions(24), {}),
    "generic": ([{"text": f"Line {n} follows line {n - 1}."} for n in range(24)], {"block_size": 16}),
    "dpo": (
        [{"question": f"{n}?", "chosen": f"It is {n}.", "rejected": "No.", "system": "Count."} for n in range(24)],
        {"prompt_text_column": "prompt", "rejected_text_column": "rejected"},
    ),
    "reward": (
        [
            {
                "prompt": f"{n}?",
                "answer": f"It is {n}.",
                "scores": {"help": n % 5, "length": n / 24},
                "system": "Count.",
            }
            for n in range(24)
        ],
        {"num_labels": 2},
    ),
    "grpo": (
        [{"prompt": f"What is {n}?", "answer": n} for n in range(12)],
        {"rl_max_new_tokens": 4, "rl_chunk_size": 4, "rl_mini_batch_size": 4, "rl_num_generations": 2},
    ),
}


@pytest.mark.parametrize("trainer", TRAINED)
def test_a_prepared_folder_trains_the_weights_of_its_source(trainer, llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows, flags = TRAINED[trainer]
    write_rows(tmp_path / "rows.jsonl", rows)
    words = [
        "prepare",
        "--trainer",
        trainer,
        "--data-path",
        "rows.jsonl",
        "--valid-split",
        "0.25",
        "--output-dir",
        "made",
    ]
    for name in ("block_size", "num_labels"):
        if name in flags:
            words += [f"--{name.replace('_', '-')}", str(flags[name])]
    assert main([*words, "--model", str(llama)]) == 0
    usual = {
        "trainer": trainer,
        "model": str(llama),
        "lr": 1e-3,
        "max_steps": 3,
        "batch_size": 4,
        "mixed_precision": "fp32",
    }
    usual |= {**flags, "eval_strategy": "steps", "eval_steps": 1}
    if trainer == "grpo":
        (tmp_path / "score.py").write_text(SCORE)
        usual["rl_reward_fn"] = "score.py:score"
    of_source = {"prompt_text_column": "question"} if trainer == "dpo" else {}
    train(**{**usual, **of_source}, data_path="rows.jsonl", valid_split="0.25", output_dir="from-source")
    report = train(**usual, data_path="made", output_dir="from-folder", use_prepared=True)
    source, made = (load_file(Path(name) / "model.safetensors") for name in ("from-source", "from-folder"))
    before = load_file(llama / "model.safetensors")
    assert any(not torch.equal(source[name], before[name]) for name in source if name in before)
    assert all(torch.equal(source[name], made[name]) for name in source)
    plans = [
        json.loads((Path(name) / "run.json").read_text())["plan"]["data"] for name in ("from-source", "from-folder")
    ]
    assert [plan["rows"] for plan in plans] == [plans[0]["rows"]] * 2 and plans[0]["eval_rows"] == plans[1]["eval_rows"]
    losses = [
        line
        for line in map(json.loads, Path("from-folder/metrics.jsonl").read_text().splitlines())
        if "eval_loss" in line
    ]
    same = [
        line
        for line in map(json.loads, Path("from-source/metrics.jsonl").read_text().splitlines())
        if "eval_loss" in line
    ]
    assert [line["eval_loss"] for line in losses] == [line["eval_loss"] for line in same]
    assert report.metrics


def test_a_folder_can_be_resumed_from(llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", questions(16))
    words = ["--trainer", "sft", "--model", str(llama)]
    assert main(["prepare", *words, "--data-path", "rows.jsonl", "--valid-split", "4", "--output-dir", "made"]) == 0
    flags = [
        *words,
        "--data-path",
        "made",
        "--use-prepared",
        "--lr",
        "1e-3",
        "--batch-size",
        "4",
        "--output-dir",
        "run",
    ]
    assert main(["llm", *flags, "--max-steps", "2", "--save-steps", "1"]) == 0
    assert main(["llm", *flags, "--max-steps", "4", "--save-steps", "1", "--resume"]) == 0
    assert json.loads(Path("run/run.json").read_text())["plan"]["steps"] == 4
