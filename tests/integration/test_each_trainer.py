"""A short run of every trainer: what a change breaks first."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from autotrain_llm.api import train
from autotrain_llm.config.registry import TRAINERS
from support.rows import COLOURS, questions, write_rows

pytestmark = pytest.mark.quick

SCORE = "def score(prompts, completions, **columns):\n    return [float(len(text) % 2) for text in completions]\n"
ROWS = {
    "documents": [
        {"text": f"The {colour} house is next to the {COLOURS[index]} one."} for index, colour in enumerate(COLOURS)
    ],
    "conversations": questions(8),
    "prompts": [{"prompt": f"Which comes first, {colour} or blue?"} for colour in COLOURS],
}
ROWS["preferences"] = ROWS["scored"] = [
    {"prompt": f"Name a colour like {colour}.", "chosen": f"{colour} it is.", "rejected": "No."} for colour in COLOURS
]
COLUMNS = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_trains_and_leaves_a_model(name: str, lora: bool, llama: Path, tmp_path: Path) -> None:
    trainer = TRAINERS[name]
    flags: dict = {"peft": True, "lora_r": 4} if lora else {}
    if trainer.rows in ("preferences", "scored"):
        flags |= {column: value for column, value in COLUMNS.items() if trainer.reads(column)}
    if trainer.samples:
        (tmp_path / "score.py").write_text(SCORE)
        flags |= {"rl_reward_fn": f"{tmp_path / 'score.py'}:score", "rl_max_new_tokens": 6}
        flags |= {"rl_chunk_size": 4, "rl_mini_batch_size": 4, "rl_num_ppo_epochs": 1}
        flags |= {"rl_num_generations": 2} if trainer.reads("rl_num_generations") else {}
    report = train(
        trainer=name,
        model=str(llama),
        data_path=str(write_rows(tmp_path / "rows.jsonl", ROWS[trainer.rows])),
        output_dir=str(tmp_path / "run"),
        lr=1e-3,
        max_steps=2,
        batch_size=4,
        logging_steps=1,
        mixed_precision="fp32",
        **flags,
    )
    losses = [json.loads(line).get("loss") for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if loss is not None and math.isfinite(loss)]) >= 2
    assert ("adapter_model.safetensors" if lora else "model.safetensors") in report.files
