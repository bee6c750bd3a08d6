"""What preferences.py, reinforce.py and pipeline.py have in common: the command of each stage of training, and the table at the end.

A stage is a run in a folder of its own below the output folder; a later one goes on from an earlier one's best model (`FOLDER/sft@best`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import demo
from judge import ModelPlayer, Player, RandomPlayer, judge, read_positions, write_table

PAIR_COLUMNS = ("--prompt-text-column", "prompt", "--rejected-text-column", "rejected")
SHORT_ROWS = ("--batch-size", "32", "--max-seq-length", "128")
# Answers are 70 tokens at most. Nothing is discounted: what counts is the move that an answer ends in.
ANSWERS = ("--batch-size", "64", "--rl-max-new-tokens", "96", "--rl-chunk-size", "256", "--rl-mini-batch-size", "64")
OPTIONS = {
    "generic": ("--lr", "2e-3", "--batch-size", "32", "--block-size", "128"),
    "sft": ("--lr", "2e-3", *SHORT_ROWS),
    # The answers of a pair differ in a word or two: a high beta, so that the model moves no further than turns these around.
    "dpo": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "2e-5", "--dpo-beta", "0.5"),
    "orpo": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "5e-5"),
    "kto": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "2e-5", "--kto-beta", "0.5"),
    "reward": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "5e-4"),
    "ppo": (*ANSWERS, "--lr", "1e-4", "--rl-num-ppo-epochs", "2", "--rl-gamma", "1", "--rl-kl-coef", "0.1"),
    # Held to the model as it was: few prompts are early positions, and what it says of those must not get lost on the way.
    "grpo": (*ANSWERS, "--lr", "1e-4", "--rl-num-generations", "8", "--rl-kl-coef", "0.04"),
}
EPOCHS = {"generic": 2, "sft": 5, "dpo": 1, "orpo": 1, "kto": 1, "reward": 2, "ppo": 3, "grpo": 1}
BY_THE_GAME = ("--rl-reward-fn", f"{demo.HERE / 'rewards.py'}:best_move")


@dataclass(frozen=True)
class Scale:
    """How much of everything: the size of the new model, what generate.py is told, and games against a random player."""

    size: str
    data: tuple[str, ...]
    games: int
    epochs: int | None = None

    def epochs_of(self, trainer: str) -> int:
        return self.epochs or EPOCHS[trainer]


# Pairs: each position three times, with mistakes drawn anew. Prompts: a step of reinforcement learning costs far more than one of sft.
FULL = Scale("1m", ("--pairs", "8886", "--prompts", "800"), 200)
# A few positions, to see that every stage works; nothing is learnt from them.
QUICK = Scale("100k", ("--rows", "32", "--pairs", "32", "--prompts", "16", "--test-share", "0.01"), 2, epochs=1)


@dataclass
class Stages:
    """The stages of one example, in `folder`; `seconds` says how long each was trained."""

    folder: Path
    scale: Scale

    def __post_init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def model(self, stage: str) -> str:
        return f"{self.folder / stage}@best"

    def write_data(self) -> None:
        demo.run([str(demo.HERE / "generate.py"), "--output-dir", str(self.data), *self.scale.data])

    def write_pairs(self, stage: str, prompts: str, pairs: str) -> None:
        """The model's own attempts at these positions, right beside wrong."""
        words = ["--model", self.model(stage), "--prompts", str(self.data / f"{prompts}.jsonl")]
        words += ["--count", "4", "--pairs", "2", "--output", str(self.data / f"{pairs}.jsonl")]
        demo.run([str(demo.HERE / "attempts.py"), *words])

    def train(self, stage: str, trainer: str, model: str, rows: str, *more: str) -> None:
        started = time.monotonic()
        demo.run(self.command(stage, trainer, model, rows, *more))
        self.seconds[stage] = time.monotonic() - started

    def command(self, stage: str, trainer: str, model: str, rows: str, *more: str) -> list[str]:
        """`python -m autotrain_llm llm …`, as anyone would type it."""
        words = ["-m", "autotrain_llm", "llm", "--trainer", trainer, "--model", model]
        words += ["--data-path", str(self.data / f"{rows}.jsonl"), *more]
        words += ["--epochs", str(self.scale.epochs_of(trainer)), *OPTIONS[trainer]]
        return [*words, "--save-strategy", "no", "--output-dir", str(self.folder / stage), "--overwrite"]

    def train_scorer(self, model: str) -> None:
        """A reward model on the written pairs, tried on those of the positions that no training has."""
        unseen = ("--eval-dataset-path", str(self.data / "test_pairs.jsonl"))
        self.train("reward", "reward", model, "pairs", *unseen)

    def accuracy(self) -> float:
        """The share of unseen pairs that the reward model puts in the right order."""
        return json.loads((self.folder / "reward" / "run.json").read_text(encoding="utf-8"))["metrics"]["eval_accuracy"]

    def show(self, models: dict[str, str]) -> None:
        """Judge these models, by the names that the table calls them."""
        positions = read_positions(self.data / "test_positions.jsonl")
        players: list[Player] = [RandomPlayer(1), *(_named(name, model) for name, model in models.items())]
        verdicts = [judge(player, positions, self.scale.games, seed=0) for player in players]
        print(f"\nTrained: {', '.join(f'{name} {spent:.0f} s' for name, spent in self.seconds.items())}.")
        print(f"{len(positions)} positions never seen, {self.scale.games} games against a random player:\n")
        print(write_table(verdicts))
        if "reward" in self.seconds:
            print(f"\nThe reward model puts {self.accuracy():.1%} of the unseen pairs in the right order.")


def _named(name: str, model: str) -> Player:
    player = ModelPlayer(model)
    player.name = name
    return player


def parser_of(description: str | None, folder: str) -> argparse.ArgumentParser:
    """The flags that all of them have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path(folder), help="folder for data and models")
    parser.add_argument("--quick", action="store_true", help="every stage on a few positions, to see that it works")
    return parser


def chosen(parser: argparse.ArgumentParser, written: str, known: Sequence[str]) -> list[str]:
    """The names in a list with commas; ends with what there is where one is unknown."""
    names = written.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(known)}")
    return names
