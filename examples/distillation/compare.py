"""What a teacher is worth: the same small student, on the same few rows, alone and taught, measured on rows that nobody trained on.

    python compare.py [--output-dir runs/distillation] [--rows 100] [--seeds 3] [--steps 150] [--teacher-epochs 3]

The rows are tic-tac-toe positions of ../tictactoe: a prompt, a short thought and a move, learnt as whole texts. The teacher, a model of a
million parameters, is trained on all of them, the student of 300 thousand on a few. All students take the same number of steps with the
same settings; what differs is who teaches. No download and no GPU.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GENERATE = HERE.parent / "tictactoe/generate.py"
HELD_OUT = 100  # rows

ALONE, TAUGHT, KEPT = "alone", "taught", "taught, from the cache"
# Float32, which is faster than bf16 for models as small as these. With the prompt a row is a text like any other: which cells are taken
# can't be known beforehand, and there a teacher knows what else is likely, while most of a thought follows from the board.
TRAINING = {
    "trainer": "sft",
    "response_only_loss": False,
    "lr": 2e-3,
    "max_seq_length": 128,
    "mixed_precision": "fp32",
    "save_strategy": "no",
    "overwrite": True,
}


def main() -> None:
    options = parse_options()
    folder, began = options.output_dir, time.monotonic()
    subprocess.run([sys.executable, str(GENERATE), "--output-dir", str(folder / "data")], check=True)
    all_rows, held_out = folder / "data/sft.jsonl", few(folder / "data/test_sft.jsonl", folder, HELD_OUT, 0)
    measuring = {"eval_dataset_path": str(held_out), "eval_strategy": "steps", "eval_steps": max(1, options.steps // 5)}
    whole = {"model": "scratch:1m", "data_path": str(all_rows), "epochs": options.teacher_epochs, "batch_size": 32}
    of_teacher = train(folder / "teacher", {**whole, "seed": 0, "eval_dataset_path": str(held_out)})
    found: dict[str, list[dict[str, float]]] = {ALONE: [], TAUGHT: [], KEPT: []}
    for seed in range(options.seeds):
        rows = few(all_rows, folder, options.rows, seed)
        student = {"model": "scratch:300k", "tokenizer": str(folder / "teacher"), "data_path": str(rows), "epochs": 1}
        student |= {"max_steps": options.steps, "batch_size": 16, "seed": seed, **measuring}
        for name, more in lessons(folder / "teacher").items():
            output = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            found[name].append(train(output, student | more))
    print("\n" + table(found, of_teacher, options, time.monotonic() - began))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/distillation"), help="folder for data and models")
    parser.add_argument("--rows", type=int, default=100, help="rows that the student learns from")
    parser.add_argument("--seeds", type=int, default=3, help="how often, each time with other rows and weights")
    parser.add_argument("--steps", type=int, default=150, help="of each student, of 16 rows")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="passes of the teacher over all rows")
    return parser.parse_args()


def lessons(teacher: Path) -> dict[str, dict[str, Any]]:
    """What each of the three is told beyond what all are."""
    taught = {"use_distillation": True, "teacher_model": str(teacher), "distill_alpha": 0.8, "distill_temperature": 1.0}
    return {ALONE: {}, TAUGHT: taught, KEPT: {**taught, "distill_cache": True, "distill_top_k": 16}}


def train(output: Path, flags: Mapping[str, Any]) -> dict[str, float]:
    """One run, as `autotrain llm` would do it: the loss on the held-out rows at the end and at its best, and the share of their tokens that
    were found likeliest at the end."""
    from autotrain_llm import train as carry_out

    report = carry_out(output_dir=str(output), **TRAINING, **flags)
    held_out = [entry for entry in report.history if "eval_loss" in entry]
    losses = [entry.get("eval_task_loss", entry["eval_loss"]) for entry in held_out]
    found = {"last": losses[-1], "best": min(losses), "accuracy": held_out[-1]["eval_token_accuracy"]}
    print(f"{output}: loss {' '.join(f'{loss:.3f}' for loss in losses)}", flush=True)
    return found


def few(source: Path, folder: Path, count: int, seed: int) -> Path:
    """Some rows of a file, drawn at random, in a file of their own."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target = folder / f"{source.stem}-{count}-{seed}.jsonl"
    target.write_text("".join(random.Random(seed).sample(lines, min(count, len(lines)))), encoding="utf-8")
    return target


def table(
    found: Mapping[str, list[dict[str, float]]],
    of_teacher: Mapping[str, float],
    options: argparse.Namespace,
    seconds: float,
) -> str:
    lines = [
        f"{HELD_OUT} held-out rows; {options.rows} rows to learn from, {options.steps} steps, medians of {options.seeds} runs with other "
        f"rows and weights (lowest to highest). The teacher's own loss is {of_teacher['last']:.3f}, and it finds "
        f"{of_teacher['accuracy']:.1%} of the tokens. All of it took {seconds / 60:.0f} minutes.",
        "",
        "| student | loss at the end | below that of the same student alone | loss at its best | tokens found at the end |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in found.items():
        cells = [spread([one[key] for one in runs]) for key in ("last", "best", "accuracy")]
        gains = [alone["last"] - one["last"] for alone, one in zip(found[ALONE], runs, strict=True)]
        cells.insert(1, spread(gains) if name != ALONE else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    middle, low, high = (f"{value:.3f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
