"""A plan is enough: read back from run.json in another process, it trains the same model to the bit."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm import train
from autotrain_llm.declare.finding import Refused
from autotrain_llm.planning.plan import Plan
from support.fork_server import forked_python
from support.models import TEMPLATE, build_llama
from support.rows import write_rows

SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from autotrain_llm.api import carry_out_plan
from autotrain_llm.planning.plan import Plan

plan = Plan.from_json(json.loads(Path(sys.argv[1], "run.json").read_text())["plan"])
carry_out_plan(replace(plan, output=replace(plan.output, dir=sys.argv[2])))
"""
USUAL = {"max_steps": 3, "lr": 1e-3, "batch_size": 4, "mixed_precision": "fp32", "seed": 3, "logging_steps": 1}
TAUGHT = {"use_distillation": True, "teacher_prompt_template": "Think first. {prompt}", "distill_temperature": 1.5}
COLUMNS = {"prompt_text_column": "prompt", "rejected_text_column": "rejected"}
SAMPLED = {"rl_num_generations": 2, "rl_max_new_tokens": 4, "rl_chunk_size": 8, "rl_mini_batch_size": 8}


def digest(folder: Path) -> str:
    (weights,) = folder.glob("*.safetensors")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("trainer", "flags"),
    [
        ("sft", {"model": "scratch:60k", "valid_split": "4", "eval_steps": 2}),
        ("sft", TAUGHT),
        ("dpo", {"peft": True, "lora_r": 4, **COLUMNS}),
        ("grpo", SAMPLED),
    ],
    ids=["a new model", "a teacher with prompts of its own", "an adapter", "a reward function"],
)
def test_a_plan_that_is_read_back_trains_the_same_weights(
    trainer: str, flags: dict[str, Any], llama: Path, tmp_path: Path
) -> None:
    rows = {
        "sft": [{"prompt": f"what is {number}?", "completion": f"it is {number}"} for number in range(24)],
        "dpo": [{"prompt": f"{number}?", "chosen": f"{number}", "rejected": "no"} for number in range(24)],
        "grpo": [{"prompt": f"what is {number}?"} for number in range(24)],
    }
    data = write_rows(tmp_path / "rows.jsonl", rows[trainer])
    (tmp_path / "scores.py").write_text(
        "def length(completions, **rest): return [float(len(c)) for c in completions]\n"
    )
    if trainer == "grpo":
        flags = flags | {"rl_reward_fn": f"{tmp_path / 'scores.py'}:length"}
    if "use_distillation" in flags:
        flags = flags | {"teacher_model": str(build_llama(tmp_path / "teacher", TEMPLATE))}
    first, again = tmp_path / "first", tmp_path / "again"
    command = {"trainer": trainer, "model": str(llama), "data_path": str(data), "output_dir": str(first)}
    report = train(**{**command, **USUAL, **flags})
    subprocess.run([forked_python(), "-c", SCRIPT, str(first), str(again)], check=True)
    assert digest(first) == digest(again)
    assert "Cost and output" in (first / "report.html").read_text(encoding="utf-8")
    assert Plan.from_json(report.plan.as_json()) == report.plan


def test_a_plan_whose_rows_have_changed_is_refused(llama: Path, tmp_path: Path) -> None:
    from autotrain_llm import plan
    from autotrain_llm.api import carry_out_plan

    data = write_rows(tmp_path / "rows.jsonl", [{"text": f"number {number}"} for number in range(8)])
    made = plan(trainer="sft", model=str(llama), data_path=str(data), output_dir=str(tmp_path / "run"), **USUAL)
    write_rows(data, [{"text": f"another {number}"} for number in range(8)])
    with pytest.raises(Refused, match="have changed since the plan was made"):
        carry_out_plan(made)
    assert not (tmp_path / "run").exists()
