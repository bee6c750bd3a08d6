"""Pretrain, midtrain, sft, dpo, reward and ppo as the stages of one config: write the rows, train the stages, and measure what each of them gained.

    python examples/pipeline/run.py [--quick]

Run it from the repository's root. Stopped, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import letters
from letters import Task

HERE = Path(__file__).resolve().parent
OUTPUT = Path("runs/pipeline")
DATA = OUTPUT / "data"
GENERATING = ("pretrain", "midtrain", "sft", "dpo", "ppo")
# Training tasks of each stage, one part after the other.
ANSWERS, PAIRS, PROMPTS, JUDGED = 6000, 1500, 1500, 4500
FEW = 32  # tasks of each stage with --quick


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few tasks and two steps of each stage, as a test")
    quick = parser.parse_args().quick
    test = write_rows(FEW if quick else None)
    command = [sys.executable, "-m", "autotrain_llm", "llm", "--config", str(HERE / "pipeline.yaml")]
    status = subprocess.run([*command, *(["--max-steps", "2"] if quick else [])], check=False).returncode
    if status == 0:
        show(test)
    return status


def write_rows(most: int | None) -> list[Task]:
    """The rows of all stages, the same each time, so that finished stages are kept. Returns the test tasks."""
    train, test = letters.tasks(ANSWERS + PAIRS + PROMPTS + JUDGED)
    rest = iter(train)
    answered, paired, asked, judged = (
        list(itertools.islice(rest, count)) for count in (ANSWERS, PAIRS, PROMPTS, JUDGED)
    )
    files = {
        "texts": letters.sorted_texts(most),
        "answers_as_text": letters.texts_of_answers(answered[:most]),
        "answers": letters.answers(answered[:most]),
        "writers": letters.better_writers(paired[:most]),
        "mistakes": letters.better_answers(judged[:most], 1),
        "test_mistakes": letters.better_answers(test[:most], 2),
        "prompts": letters.prompts(asked[:most]),
    }
    DATA.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        letters.write_rows(DATA / f"{name}.jsonl", rows)
    shutil.copy(HERE / "letters.py", DATA)  # has the reward by rule
    return test[:most]


def show(test: Sequence[Task]) -> None:
    """The answers of every model to the same tasks, none of which it was trained on; the reward model on pairs of such answers."""
    print(f"\n{len(test)} test tasks; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}:\n")
    print(
        "| stage | seconds | letters in order | letters in their places | right answers |\n| --- | --- | --- | --- | --- |"
    )
    record = json.loads((OUTPUT / "pipeline.json").read_text(encoding="utf-8"))
    seconds = {stage["name"]: stage["seconds"] for stage in record["stages"]}
    print(f"| new model | | {letters.judge(OUTPUT / GENERATING[0], test, untrained=True)} |")
    for stage in GENERATING:
        print(f"| {stage} | {seconds[stage]:.0f} | {letters.judge(OUTPUT / stage, test)} |", flush=True)
    metrics = json.loads((OUTPUT / "reward" / "run.json").read_text(encoding="utf-8"))["metrics"]
    accuracy = metrics["eval_accuracy"]
    print(f"\nThe reward model ({seconds['reward']:.0f} s) ranks {accuracy:.1%} of the test pairs correctly.")


if __name__ == "__main__":
    sys.exit(main())
