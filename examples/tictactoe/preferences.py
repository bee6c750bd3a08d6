"""From the model that `demo.py` trained, on: dpo, orpo and kto each learn from pairs of a right and a worse answer, and a reward model scores.

    python preferences.py [--runs runs/tictactoe] [--trainers dpo,orpo,kto,reward] [--games 200]

Needs the folder that `demo.py` wrote. Each run starts from `sft@best`; at the end one table of all models, and the share of unseen pairs
that the reward model puts in the right order.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from demo import run
from judge import ModelPlayer, Player, judge, read_positions, write_table

COMMON = (
    "--prompt-text-column",
    "prompt",
    "--rejected-text-column",
    "rejected",
    "--batch-size",
    "32",
    "--save-strategy",
    "no",
)
OPTIONS = {
    "dpo": ("--lr", "2e-5", "--epochs", "2", "--dpo-beta", "1.0"),
    "orpo": ("--lr", "2e-4", "--epochs", "2"),
    "kto": ("--lr", "5e-6", "--epochs", "2"),
    "reward": ("--lr", "5e-4", "--epochs", "3"),
}


def main() -> None:
    options = parse_options()
    data = options.runs / "data"
    trainers = options.trainers.split(",")
    for trainer in trainers:
        run(training_command(trainer, options.runs))
    positions = read_positions(data / "test_positions.jsonl")
    players: list[Player] = [
        ModelPlayer(str(options.runs / name)) for name in ("sft", *(name for name in trainers if name != "reward"))
    ]
    print(f"\n{len(positions)} positions never trained on, {options.games} games:\n")
    print(write_table([judge(player, positions, options.games, seed=0) for player in players]))
    if "reward" in trainers:
        metrics = json.loads((options.runs / "reward" / "run.json").read_text(encoding="utf-8"))["metrics"]
        print(f"\nThe reward model puts {metrics['eval_accuracy']:.1%} of the unseen pairs in the right order.")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tictactoe"), help="folder that demo.py wrote")
    parser.add_argument("--trainers", default="dpo,orpo,kto,reward", help="which of them, separated by commas")
    parser.add_argument("--games", type=int, default=200, help="games against a random player")
    options = parser.parse_args()
    if not (options.runs / "sft" / "run.json").exists():
        sys.exit(f"{options.runs} holds no finished sft run: run demo.py first")
    return options


def training_command(trainer: str, runs: Path) -> list[str]:
    """The command as anyone would type it."""
    words = ["-m", "autotrain_llm", "llm", "--trainer", trainer, "--model", f"{runs / 'sft'}@best"]
    words += [
        "--data-path",
        str(runs / "data" / "pairs.jsonl"),
        "--eval-dataset-path",
        str(runs / "data" / "test_pairs.jsonl"),
    ]
    return [*words, *COMMON, *OPTIONS[trainer], "--output-dir", str(runs / trainer), "--overwrite"]


if __name__ == "__main__":
    main()
