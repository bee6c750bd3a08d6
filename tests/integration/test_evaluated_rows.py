"""`--eval-batches` with every trainer: the metrics are those of a run that is given the chosen rows alone, also when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.order import choose_rows
from support.rows import COLOURS, questions, write_rows
from support.short_runs import short_run

ROWS: dict[str, list[dict[str, Any]]] = {
    "documents": [{"text": f"A {colour} row to be evaluated."} for colour in COLOURS],
    "conversations": questions(8),
    "prompts": [{"prompt": f"Which comes last, {colour} or red?"} for colour in COLOURS],
}
ROWS["preferences"] = ROWS["scored"] = [
    {"prompt": f"Name {colour}.", "chosen": f"It is {colour}.", "rejected": "No."} for colour in COLOURS
]
CHOSEN = 4


def evaluations(output: Path) -> list[dict[str, float]]:
    """What every evaluation reported, but for its duration."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        {name: value for name, value in line.items() if name.startswith("eval_") and name != "eval_seconds"}
        for line in lines
        if any(name.startswith("eval_") for name in line)
    ]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_chosen_rows_are_evaluated_and_no_others(trainer, llama, tmp_path):
    kind, flags = TRAINERS[trainer].rows, {"eval_strategy": "steps", "eval_steps": 1}
    rows = ROWS[kind]
    if kind == "documents":
        flags |= {"block_size": 8}
    each = 2 if TRAINERS[trainer].parts_pairs else 1
    limit = {"eval_batch_size": 2 * each, "eval_batches": CHOSEN // 2}
    written = write_rows(tmp_path / "all.jsonl", rows)
    report = short_run(trainer, llama, tmp_path, "some", eval_dataset_path=str(written), **limit, **flags)
    plan = json.loads((Path(report.output_dir) / "run.json").read_text())["plan"]["data"]
    assert plan["evaluated_rows"] == CHOSEN < plan["eval_rows"]
    if kind == "documents":  # blocks of several texts
        return
    few = [rows[index] for index in choose_rows(len(rows), CHOSEN, 42)]
    written = write_rows(tmp_path / "few.jsonl", few)
    short_run(trainer, llama, tmp_path, "few", eval_dataset_path=str(written), eval_batch_size=2 * each, **flags)
    some, alone = evaluations(tmp_path / "some"), evaluations(tmp_path / "few")
    assert len(some) == 2 and some[0] != some[1]
    assert some == [pytest.approx(metrics, rel=1e-4) for metrics in alone]


def test_a_resumed_run_evaluates_the_same_rows(llama, tmp_path):
    written = write_rows(tmp_path / "all.jsonl", ROWS["conversations"])
    flags = {"eval_dataset_path": str(written), "eval_batches": 1, "eval_batch_size": 3, "eval_steps": 1}
    flags |= {"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 1, "max_steps": 3}
    short_run("sft", llama, tmp_path, "whole", **flags)
    short_run("sft", llama, tmp_path, "parts", **flags, save_total_limit=3)
    for step in (2, 3):
        folder = tmp_path / "parts" / "checkpoints" / f"checkpoint-{step}"
        folder.rename(tmp_path / f"{step}")
    short_run("sft", llama, tmp_path, "parts", **flags, resume=True)
    whole, parts = evaluations(tmp_path / "whole"), evaluations(tmp_path / "parts")
    assert len(whole) == 3 and parts[-2:] == whole[1:]
