"""What a teacher is worth: the same small student, on the same few rows, alone and taught, measured on rows that nobody trained on.

    python compare.py [--output-dir runs/distillation] [--rows 100] [--seeds 3] [--teacher-epochs 5] [--student-epochs 75]

The rows are tic-tac-toe positions of ../tictactoe: a prompt, a short thought and a move. The teacher, a model of a million parameters, is
trained on all of them, the student of 300 thousand on a few, for longer than these few can teach it. No download and no GPU.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tictactoe"))

from demo import run  # noqa: E402 (a neighbour, which stands in no package)

ALONE, TAUGHT, KEPT = "alone", "taught", "taught, from the cache"
TRAINING = ("--batch-size", "32", "--max-seq-length", "128", "--save-strategy", "no", "--overwrite", "--quiet")
EVALUATING = ("--eval-strategy", "steps", "--eval-steps", "50")


def main() -> None:
    options = parse_options()
    folder = options.output_dir
    run([str(HERE.parent / "tictactoe/generate.py"), "--output-dir", str(folder / "data")])
    teacher = train(
        folder / "teacher", "scratch:1m", folder / "data/sft.jsonl", options.teacher_epochs, 0, "--lr", "2e-3"
    )
    held_out = few(folder / "data/test_sft.jsonl", folder / "held_out.jsonl", 150, 0)
    found: dict[str, list[dict[str, float]]] = {ALONE: [], TAUGHT: [], KEPT: []}
    for seed in range(options.seeds):
        rows = few(folder / "data/sft.jsonl", folder / f"rows-{seed}.jsonl", options.rows, seed)
        for name, more in lessons(teacher).items():
            output = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            words = [
                "--lr",
                "2e-3",
                "--tokenizer",
                str(teacher),
                "--eval-dataset-path",
                str(held_out),
                *EVALUATING,
                *more,
            ]
            train(output, "scratch:300k", rows, options.student_epochs, seed, *words)
            found[name].append(measured(output))
    print("\n" + table(found, options))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/distillation"), help="folder for data and models")
    parser.add_argument("--rows", type=int, default=100, help="rows that the student learns from")
    parser.add_argument("--seeds", type=int, default=3, help="how often, each time with other rows and weights")
    parser.add_argument("--teacher-epochs", default="5", help="passes of the teacher over all rows")
    parser.add_argument("--student-epochs", default="75", help="passes of the student over its own")
    return parser.parse_args()


def lessons(teacher: Path) -> dict[str, list[str]]:
    """What is typed for each of the three, beyond what all have."""
    taught = [
        "--use-distillation",
        "--teacher-model",
        str(teacher),
        "--distill-alpha",
        "0.8",
        "--distill-temperature",
        "1",
    ]
    return {ALONE: [], TAUGHT: taught, KEPT: [*taught, "--distill-cache", "--distill-top-k", "16"]}


def train(output: Path, model: str, rows: Path, epochs: str, seed: int, *more: str) -> Path:
    words = ["-m", "autotrain_llm", "llm", "--trainer", "sft", "--model", model, "--data-path", str(rows)]
    run([*words, "--epochs", epochs, "--seed", str(seed), "--output-dir", str(output), *TRAINING, *more])
    return output


def few(source: Path, target: Path, count: int, seed: int) -> Path:
    """Some rows of a file, drawn at random."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(random.Random(seed).sample(lines, min(count, len(lines)))), encoding="utf-8")
    return target


def measured(output: Path) -> dict[str, float]:
    """The loss of the task on held-out rows at the end and at its best, and the share of tokens that were found likeliest at the end."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out: list[dict[str, Any]] = [line for line in lines if "eval_loss" in line]
    losses = [line.get("eval_task_loss", line["eval_loss"]) for line in held_out]
    return {"last": losses[-1], "best": min(losses), "accuracy": held_out[-1]["eval_token_accuracy"]}


def table(found: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    lines = [
        f"Held-out rows, {options.rows} rows to learn from, medians of {options.seeds} runs (lowest to highest):",
        "",
        "| student | loss at the end | loss at its best | tokens found at the end |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in found.items():
        cells = [
            spread([one[key] for one in runs], digits) for key, digits in (("last", 3), ("best", 3), ("accuracy", 3))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
