"""The effect of distillation: the same small student on the same few rows, without and with a teacher, evaluated on held-out rows.

    python compare.py [--output-dir runs/distillation] [--rows 100] [--seeds 3] [--steps 150] [--teacher-epochs 3]

The rows are the tic-tac-toe positions of ../tictactoe: a prompt, a short thought and a move, trained on as whole texts. The teacher, a model of a
million parameters, is trained on all of them, the students of 300 thousand on a few. All students take the same number of steps with the same
settings; only the teacher differs: none, an online teacher, or its cached top-k log-probabilities. No download and no GPU.
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

PLAIN, DISTILLED, CACHED = "without a teacher", "distilled", "distilled, from the cache"
# Float32 is faster than bf16 for models as small as these. The loss includes the prompt: which cells are taken can't be predicted, and there the
# teacher's probabilities tell the student more than one sampled token, while most of a thought follows from the board.
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
    folder, started = options.output_dir, time.monotonic()
    subprocess.run([sys.executable, str(GENERATE), "--output-dir", str(folder / "data")], check=True)
    all_rows, held_out = folder / "data/sft.jsonl", sampled_rows(folder / "data/test_sft.jsonl", folder, HELD_OUT, 0)
    evaluation = {
        "eval_dataset_path": str(held_out),
        "eval_strategy": "steps",
        "eval_steps": max(1, options.steps // 5),
    }
    teacher_flags = {
        "model": "scratch:1m",
        "data_path": str(all_rows),
        "epochs": options.teacher_epochs,
        "batch_size": 32,
    }
    teacher_result = train(folder / "teacher", {**teacher_flags, "seed": 0, "eval_dataset_path": str(held_out)})
    results: dict[str, list[dict[str, float]]] = {PLAIN: [], DISTILLED: [], CACHED: []}
    for seed in range(options.seeds):
        rows = sampled_rows(all_rows, folder, options.rows, seed)
        student = {"model": "scratch:300k", "tokenizer": str(folder / "teacher"), "data_path": str(rows), "epochs": 1}
        student |= {"max_steps": options.steps, "batch_size": 16, "seed": seed, **evaluation}
        for name, more in distillation_flags(folder / "teacher").items():
            output = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            results[name].append(train(output, student | more))
    print("\n" + table(results, teacher_result, options, time.monotonic() - started))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/distillation"), help="folder for data and models")
    parser.add_argument("--rows", type=int, default=100, help="training rows of a student")
    parser.add_argument(
        "--seeds", type=int, default=3, help="runs of each student, each with other rows and initial weights"
    )
    parser.add_argument("--steps", type=int, default=150, help="steps of a student, with batches of 16 rows")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="epochs of the teacher over all rows")
    return parser.parse_args()


def distillation_flags(teacher: Path) -> dict[str, dict[str, Any]]:
    """The flags in which the three kinds of students differ."""
    distill = {
        "use_distillation": True,
        "teacher_model": str(teacher),
        "distill_alpha": 0.8,
        "distill_temperature": 1.0,
    }
    return {PLAIN: {}, DISTILLED: distill, CACHED: {**distill, "distill_cache": True, "distill_top_k": 16}}


def train(output: Path, flags: Mapping[str, Any]) -> dict[str, float]:
    """One run of `autotrain llm`: the last and the lowest loss on the held-out rows, and the last token accuracy."""
    from autotrain_llm import train as autotrain

    report = autotrain(output_dir=str(output), **TRAINING, **flags)
    evaluations = [entry for entry in report.history if "eval_loss" in entry]
    losses = [entry.get("eval_task_loss", entry["eval_loss"]) for entry in evaluations]
    result = {"last": losses[-1], "best": min(losses), "accuracy": evaluations[-1]["eval_token_accuracy"]}
    print(f"{output}: loss {' '.join(f'{loss:.3f}' for loss in losses)}", flush=True)
    return result


def sampled_rows(source: Path, folder: Path, count: int, seed: int) -> Path:
    """Write a random sample of a file's rows into a file of their own."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target = folder / f"{source.stem}-{count}-{seed}.jsonl"
    target.write_text("".join(random.Random(seed).sample(lines, min(count, len(lines)))), encoding="utf-8")
    return target


def table(
    results: Mapping[str, list[dict[str, float]]],
    teacher: Mapping[str, float],
    options: argparse.Namespace,
    seconds: float,
) -> str:
    lines = [
        f"{HELD_OUT} held-out rows; {options.rows} training rows, {options.steps} steps, medians of {options.seeds} runs with different "
        f"rows and weights (lowest to highest). The teacher's own loss is {teacher['last']:.3f}, its token accuracy "
        f"{teacher['accuracy']:.1%}. Everything took {seconds / 60:.0f} minutes.",
        "",
        "| student | last loss | improvement over the same student without a teacher | lowest loss | last token accuracy |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in results.items():
        cells = [spread([one[key] for one in runs]) for key in ("last", "best", "accuracy")]
        gains = [plain["last"] - one["last"] for plain, one in zip(results[PLAIN], runs, strict=True)]
        cells.insert(1, spread(gains) if name != PLAIN else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    middle, low, high = (f"{value:.3f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
