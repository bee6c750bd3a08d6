"""Distillation, a sweep and enhanced evaluation on one run: none of them knows of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import train
from support.models import TEMPLATE, build_llama
from support.rows import questions, write_rows

PAIRS = [
    {"prompt": f"Which is number {number}?", "chosen": f" It is {number}.", "rejected": " Not that."}
    for number in range(24)
]
OF_PAIRS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}


@pytest.mark.parametrize(("trainer", "rows", "more"), [("sft", questions(24), {}), ("orpo", PAIRS, OF_PAIRS)])
def test_a_sweep_of_a_taught_model_under_enhanced_evaluation(
    trainer: str, rows: list[dict[str, Any]], more: dict[str, Any], llama: Path, tmp_path: Path
) -> None:
    teacher = build_llama(tmp_path / "teacher", TEMPLATE, initializer_range=0.05)
    report = train(
        trainer=trainer,
        model=str(llama),
        data_path=str(write_rows(tmp_path / "rows.jsonl", rows)),
        output_dir=str(tmp_path / "run"),
        lr=1e-2,
        epochs=1,
        batch_size=8,
        valid_split="6",
        use_distillation=True,
        teacher_model=str(teacher),
        use_enhanced_eval=True,
        eval_metrics="perplexity,bleu",
        eval_max_new_tokens=4,
        eval_samples=3,
        use_sweep=True,
        sweep_n_trials=2,
        sweep_metric="eval_perplexity",
        sweep_params={"lr": [1e-3, 3e-3]},
        **more,
    )
    trials = json.loads((tmp_path / "run/sweep/trials.json").read_text(encoding="utf-8"))["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    assert {"eval_bleu", "eval_perplexity", "eval_distill_loss", "eval_task_loss"} <= set(report.metrics)
    best = min(trial["metric"] for trial in trials)
    assert report.metrics["eval_perplexity"] == pytest.approx(best)
    assert trials[0]["metric"] != trials[1]["metric"]
