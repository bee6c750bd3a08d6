"""Trials per hour of a sweep, which runs its trials in one process, against the same trials with a process each.

Both do the same work: the trials have the values that the sweep proposed, and their results are compared.

    python benchmarks/sweep.py DATA [--trials 12] [--steps 10] [--rounds 2] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import page

AIM = 4.0
PROGRAM = [sys.executable, "-m", "autotrain_llm", "llm", "--quiet"]


def flags(data: Path, steps: int) -> list[str]:
    """A small model and few steps: the difference is in what surrounds the training."""
    return [
        *("--trainer", "sft", "--model", "scratch:1m", "--data-path", str(data), "--max-samples", "500"),
        *("--lr", "1e-3", "--max-steps", str(steps), "--batch-size", "4", "--block-size", "128"),
        *("--valid-split", "50", "--save-strategy", "no"),
    ]


def run(words: list[str], cache: Path) -> float:
    """Seconds of one command; the cache of prepared rows is shared between commands, as it is for users."""
    began = time.perf_counter()
    subprocess.run(
        [*PROGRAM, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"},
    )
    return time.perf_counter() - began


def one_round(data: Path, trials: int, steps: int, folder: Path) -> tuple[float, float]:
    """Seconds of a sweep, and of its trials as single runs. Raises AssertionError where their results differ."""
    cache, swept = folder / "cache", folder / "swept"
    search = ["--use-sweep", "--sweep-n-trials", str(trials), "--sweep-pruner", "none"]
    space = json.dumps({"lr": [1e-4, 1e-2, "log"], "weight_decay": [0.0, 0.1, "linear"]})
    together = run([*flags(data, steps), *search, "--sweep-params", space, "--output-dir", str(swept)], cache)
    alone = 0.0
    for trial in json.loads((swept / "sweep" / "trials.json").read_text(encoding="utf-8"))["trials"]:
        values = [
            word for name, value in trial["values"].items() for word in (f"--{name.replace('_', '-')}", repr(value))
        ]
        output = folder / f"alone-{trial['number']}"
        alone += run([*flags(data, steps), *values, "--output-dir", str(output)], cache)
        metrics = json.loads((output / "run.json").read_text(encoding="utf-8"))["metrics"]
        assert metrics["eval_loss"] == trial["metric"], (trial, metrics)
    return together, alone


def table(rounds: list[tuple[float, float]], trials: int, steps: int) -> str:
    """The results as a Markdown table."""
    together, alone = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    times = statistics.median(second / first for first, second in rounds)
    head = (
        f"`python benchmarks/sweep.py`: {trials} trials of {steps} steps of a model of 1M parameters, {os.cpu_count()} cores "
        f"({platform.machine()}), medians of {len(rounds)} rounds; the results are equal to the last digit. Aim: {AIM:g} times.\n\n"
    )
    rows = [("one sweep, in one process", together, times), ("a process for each trial", alone, 1.0)]
    lines = [f"| {name} | {3600 * trials / seconds:.0f} | {ratio:.1f} |" for name, seconds, ratio in rows]
    return head + "\n".join(["| trials | per hour | speedup |", "| --- | --- | --- |", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="instruction rows, such as alpaca_en_demo.json")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(options.data.resolve(), options.trials, options.steps, Path(folder)))
        print("sweep {:.1f} s, a process for each trial {:.1f} s".format(*rounds[-1]), file=sys.stderr)
    text = table(rounds, options.trials, options.steps)
    print(text)
    if options.write:
        page.write("sweep", text)


if __name__ == "__main__":
    main()
