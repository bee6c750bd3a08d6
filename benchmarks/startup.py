"""The start-up time of `autotrain llm`, as a multiple of an empty Python program.

The commands run alternately, so that a busy machine slows them alike, and the medians are compared.

    python benchmarks/startup.py [--rounds 21]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

AIM = 8.0
AUTOTRAIN = "from autotrain_llm.cli.main import main; raise SystemExit(main())"  # what the console script does
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "autotrain --version": ["-c", AUTOTRAIN, "--version"],
    "autotrain llm --help": ["-c", AUTOTRAIN, "llm", "--help"],
    "autotrain llm --trainer dpo --help": ["-c", AUTOTRAIN, "llm", "--trainer", "dpo", "--help"],
    "autotrain completion bash": ["-c", AUTOTRAIN, "completion", "bash"],
    "a refused command": [
        "-c",
        AUTOTRAIN,
        "llm",
        "--trainer",
        "sft",
        "--dpo-beta",
        "0.2",
        "--epochs",
        "0",
        "--lerning-rate",
        "1",
    ],
}
MEASURED = ("autotrain llm --help", "a refused command")


def seconds(arguments: list[str]) -> float:
    """One run, from starting the process to its end."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    return time.perf_counter() - begin


def medians(rounds: int) -> dict[str, float]:
    """Median seconds of each command, over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="runs of each command (default: 21)")
    result = medians(parser.parse_args().rounds)
    bare = result["python -c pass"]
    for name, median in result.items():
        print(f"{name:<36} {median * 1000:6.1f} ms   {median / bare:4.1f} x")
    worst = max(result[name] / bare for name in MEASURED)
    print(f"worst of {' and '.join(MEASURED)}: {worst:.1f} x, aim {AIM:g} x or less")
    return 0 if worst <= AIM else 1


if __name__ == "__main__":
    raise SystemExit(main())
