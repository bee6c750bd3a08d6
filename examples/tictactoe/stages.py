"""What preferences.py, reinforce.py and pipeline.py share: the command of each training stage, and the table at the end.

A stage is a run in a folder of its own below the output folder; later stages start from the best model of an earlier one (`FOLDER/sft@best`).
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
# Answers are at most 70 tokens. No discount (gamma 1): the reward is for the move at the end of an answer.
ANSWERS = ("--batch-size", "64", "--rl-max-new-tokens", "96", "--rl-chunk-size", "256", "--rl-mini-batch-size", "64")
OPTIONS = {
    "generic": ("--lr", "2e-3", "--batch-size", "32", "--block-size", "128"),
    "sft": ("--lr", "2e-3", *SHORT_ROWS),
    # The answers of a pair differ in a word or two: a high beta, so that the model moves no further than needed to prefer the right one.
    "dpo": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "2e-5", "--dpo-beta", "0.5"),
    "orpo": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "5e-5"),
    "kto": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "2e-5", "--kto-beta", "0.5"),
    "reward": (*PAIR_COLUMNS, "--batch-size", "16", "--lr", "5e-4"),
    "ppo": (*ANSWERS, "--lr", "1e-4", "--rl-num-ppo-epochs", "2", "--rl-gamma", "1", "--rl-kl-coef", "0.1"),
    # A KL penalty to the initial model: few prompts are openings, and its answers to these must not degrade.
    "grpo": (*ANSWERS, "--lr", "1e-4", "--rl-num-generations", "8", "--rl-kl-coef", "0.04"),
    # As many answers as grpo samples in its epoch: two to each prompt before training and six epochs of one.
    "spo": (*ANSWERS, "--lr", "1e-4", "--spo-first-answers", "2", "--rl-kl-coef", "0.04"),
}
EPOCHS = {"generic": 2, "sft": 5, "dpo": 1, "orpo": 1, "kto": 1, "reward": 2, "ppo": 3, "grpo": 1, "spo": 6}
GAME_REWARD = ("--rl-reward-fn", f"{demo.HERE / 'rewards.py'}:best_move")


@dataclass(frozen=True)
class Scale:
    """The size of an example: that of the new model, the flags of generate.py, the games against a random player, and the epochs."""

    size: str
    data: tuple[str, ...]
    games: int
    epochs: int | None = None

    def epochs_of(self, trainer: str) -> int:
        return self.epochs or EPOCHS[trainer]


# Three pairs a position, each with another mistake. Fewer prompts: a step of reinforcement learning costs far more than one of sft.
FULL = Scale("1m", ("--pairs", "8886", "--prompts", "800"), 200)
# A few positions, to test that every stage runs; too few to learn from.
QUICK = Scale("100k", ("--rows", "32", "--pairs", "32", "--prompts", "16", "--test-share", "0.01"), 2, epochs=1)


@dataclass
class Stages:
    """The stages of one example, in `folder`; `seconds` has the training time of each."""

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
        """Sample the model's answers to these positions, and write preference pairs."""
        words = ["--model", self.model(stage), "--prompts", str(self.data / f"{prompts}.jsonl")]
        words += ["--count", "4", "--pairs", "2", "--output", str(self.data / f"{pairs}.jsonl")]
        demo.run([str(demo.HERE / "attempts.py"), *words])

    def train(self, stage: str, trainer: str, model: str, rows: str, *more: str) -> None:
        started = time.monotonic()
        demo.run(self.command(stage, trainer, model, rows, *more))
        self.seconds[stage] = time.monotonic() - started

    def command(self, stage: str, trainer: str, model: str, rows: str, *more: str) -> list[str]:
        """The words of `python -m autotrain_llm llm …`."""
        words = ["-m", "autotrain_llm", "llm", "--trainer", trainer, "--model", model]
        words += ["--data-path", str(self.data / f"{rows}.jsonl"), *more]
        words += ["--epochs", str(self.scale.epochs_of(trainer)), *OPTIONS[trainer]]
        return [*words, "--save-strategy", "no", "--output-dir", str(self.folder / stage), "--overwrite"]

    def train_scorer(self, model: str) -> None:
        """Train a reward model on the generated pairs, and evaluate it on the test pairs."""
        evaluation = ("--eval-dataset-path", str(self.data / "test_pairs.jsonl"))
        self.train("reward", "reward", model, "pairs", *evaluation)

    def accuracy(self) -> float:
        """The share of test pairs that the reward model ranks correctly."""
        return json.loads((self.folder / "reward" / "run.json").read_text(encoding="utf-8"))["metrics"]["eval_accuracy"]

    def show(self, models: dict[str, str]) -> None:
        """Print the table of these models, by their names in it."""
        positions = read_positions(self.data / "test_positions.jsonl")
        players: list[Player] = [RandomPlayer(1), *(_named(name, model) for name, model in models.items())]
        verdicts = [judge(player, positions, self.scale.games, seed=0) for player in players]
        print(f"\nTrained: {', '.join(f'{name} {spent:.0f} s' for name, spent in self.seconds.items())}.")
        print(f"{len(positions)} test positions, {self.scale.games} games against a random player:\n")
        print(write_table(verdicts))
        if "reward" in self.seconds:
            print(f"\nThe reward model ranks {self.accuracy():.1%} of the test pairs correctly.")


def _named(name: str, model: str) -> Player:
    player = ModelPlayer(model)
    player.name = name
    return player


def parser_of(description: str | None, folder: str) -> argparse.ArgumentParser:
    """The parser of the flags that all examples have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path(folder), help="folder for data and models")
    parser.add_argument("--quick", action="store_true", help="run every stage on a few positions, as a test")
    return parser


def chosen(parser: argparse.ArgumentParser, names_with_commas: str, available: Sequence[str]) -> list[str]:
    """The names in a comma-separated list; exits with the available names if one is unknown."""
    names = names_with_commas.split(",")
    if unknown := [name for name in names if name not in available]:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(available)}")
    return names
