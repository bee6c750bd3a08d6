"""SFT against DPO on the same preference pairs, from the same model: sft learns from the chosen answers alone, dpo from both.

    python compare.py [--output-dir runs/sft_vs_dpo] [--quick]

The task: five letters are sorted (../pipeline/letters.py). A pair has an expert's answer and a careless one; the model before has learnt both alike.
`sft.yaml` and `dpo.yaml` have the settings side by side. At the end one table on test tasks. No download and no GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "pipeline"))

import letters  # noqa: E402

ANSWERS, PAIRS, FEW = 6000, 1500, 32
BEFORE = (
    "--trainer sft --model scratch:250k --lr 4e-3 --batch-size 64 --epochs 3 --mixed-precision fp32 --save-strategy no"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/sft_vs_dpo"), help="folder for rows and models")
    parser.add_argument("--quick", action="store_true", help="a few tasks and two steps of each training, as a test")
    options = parser.parse_args()
    folder, most = options.output_dir, FEW if options.quick else None
    folder.mkdir(parents=True, exist_ok=True)
    train, test = letters.tasks(ANSWERS + PAIRS)
    letters.write_rows(folder / "answers.jsonl", letters.answers(train[:ANSWERS][:most]))
    letters.write_rows(folder / "pairs.jsonl", letters.better_writers(train[ANSWERS:][:most]))
    model = ["--model", str(folder / "before"), "--data-path", str(folder / "pairs.jsonl")]
    commands = {
        "before": [*BEFORE.split(), "--data-path", str(folder / "answers.jsonl")],
        "sft": ["--config", str(HERE / "sft.yaml"), *model],
        "dpo": ["--config", str(HERE / "dpo.yaml"), *model],
    }
    few_steps = ["--max-steps", "2"] if options.quick else []
    seconds = {name: run(folder / name, [*words, *few_steps]) for name, words in commands.items()}
    print(f"\n{len(test)} test tasks; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}:\n")
    print("| model | seconds | letters in their places | right answers |\n| --- | --- | --- | --- |")
    for name in commands:
        judged = letters.judge(folder / name, test)
        print(f"| {name} | {seconds[name]:.0f} | {judged.places:.1%} | {judged.right:.1%} |", flush=True)


def run(output: Path, words: list[str]) -> float:
    """Train, and return the seconds that it took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "autotrain_llm", "llm", *words, "--output-dir", str(output), "--overwrite"]
    subprocess.run(command, check=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
