"""Training on rows that are tokens already gives the weights of training on the text that they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotrain_llm import train
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from support.rows import write_rows


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("trainer", ["sft", "generic"])
def test_rows_of_tokens_train_the_weights_of_their_text(trainer, llama, tmp_path):
    tokenizer = Tokenizer.load(llama)
    parts = [(f"What comes after {n}?", f" It is {n + 1}.") for n in range(16)]
    rows = []
    for prompt, completion in parts:
        before, after = tokenizer.encode_batch([prompt, completion])
        after.append(tokenizer.eos_id)
        before = [*tokenizer.bos_eos[0], *before]
        pad = [tokenizer.pad_id] * 3
        labels = [-100] * len(before) if trainer == "sft" else before
        mask = [1] * len(before + after) + [0] * 3
        rows.append({"input_ids": before + after + pad, "labels": labels + after + [-100] * 3, "attention_mask": mask})
    text = write_rows(tmp_path / "text.jsonl", [{"prompt": p, "completion": c} for p, c in parts])
    tokens = write_rows(tmp_path / "tokens.jsonl", rows)
    usual = {
        "model": str(llama),
        "lr": 1e-3,
        "max_steps": 4,
        "batch_size": 4,
        "mixed_precision": "fp32",
        "block_size": 32,
    }
    for name, path in (("text", text), ("tokens", tokens)):
        flags = (
            {"use_enhanced_eval": True, "eval_metrics": "exact_match", "eval_max_new_tokens": 2}
            if trainer == "sft"
            else {}
        )
        train(
            trainer=trainer,
            data_path=str(path),
            output_dir=str(tmp_path / f"{name}-run"),
            valid_split="4",
            **flags,
            **usual,
        )
    first, second = (weights(tmp_path / f"{name}-run") for name in ("text", "tokens"))
    before = weights(llama)
    assert any(not torch.equal(first[name], before[name]) for name in first)
    plans = [
        json.loads((tmp_path / f"{name}-run" / "run.json").read_text())["plan"]["data"] for name in ("text", "tokens")
    ]
    assert plans[0]["total_tokens"] == plans[1]["total_tokens"]
    assert all(torch.equal(first[name], second[name]) for name in first)
