"""Train a model to play tic-tac-toe from scratch: generate positions, train a new model of a million parameters, compare its play before and after.

    python demo.py [--output-dir runs/tictactoe] [--size 1m] [--epochs 6] [--games 200]

No download and no GPU: a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from judge import ModelPlayer, Player, RandomPlayer, draw_game, judge, play_games, read_positions, write_table

HERE = Path(__file__).resolve().parent
# Rows are short (at most 70 tokens), so 32 of them are a small batch, and a high learning rate works well.
TRAINING = ("--lr", "2e-3", "--batch-size", "32", "--max-seq-length", "128", "--save-strategy", "no")


def main() -> None:
    options = parse_options()
    data, trained, untrained = (options.output_dir / name for name in ("data", "sft", "untrained"))
    run([str(HERE / "generate.py"), "--output-dir", str(data)])
    build_untrained(data / "sft.jsonl", untrained, options.size)
    started = time.monotonic()
    run(training_command(data / "sft.jsonl", trained, options.size, options.epochs))
    seconds = time.monotonic() - started
    positions = read_positions(data / "test_positions.jsonl")
    players: list[Player] = [RandomPlayer(1), ModelPlayer(str(untrained)), ModelPlayer(str(trained))]
    for player, name in zip(players, ("random player", "before training", "after training"), strict=True):
        player.name = name
    verdicts = [judge(player, positions, options.games, seed=0) for player in players]
    print(f"\nTrained in {seconds:.0f} s. {len(positions)} test positions, {options.games} games:\n")
    print(write_table(verdicts))
    print(
        f"\nA game of the trained model against a random player:\n\n{draw_game(play_games(players[-1], 1, seed=0)[0])}"
    )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/tictactoe"), help="folder for data and models")
    parser.add_argument("--size", default="1m", help="size of the new model")
    parser.add_argument("--epochs", default="6", help="epochs over the positions")
    parser.add_argument("--games", type=int, default=200, help="games against a random player")
    return parser.parse_args()


def training_command(data: Path, output: Path, size: str, epochs: str) -> list[str]:
    """The words of `python -m autotrain_llm llm …`."""
    model = ["--trainer", "sft", "--model", f"scratch:{size}", "--data-path", str(data)]
    return [
        "-m",
        "autotrain_llm",
        "llm",
        *model,
        "--epochs",
        epochs,
        *TRAINING,
        "--output-dir",
        str(output),
        "--overwrite",
    ]


def run(words: list[str]) -> None:
    """Print a Python command and run it in a process of its own; exits with its status if it fails."""
    print(f"\n$ {shlex.join(['python', *words])}", flush=True)
    status = subprocess.run([sys.executable, *words], check=False).returncode
    if status:
        raise SystemExit(status)


def build_untrained(data: Path, folder: Path, size: str) -> None:
    """Save the new model with the random weights that training starts from."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from autotrain_llm.models.scratch import GENERATION_IDS, TOKEN_IDS, choose_shape, parse_size, train_tokenizer

    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    tokenizer = train_tokenizer((row["prompt"] + row["completion"] for row in rows), folder)
    torch.manual_seed(42)
    shape = choose_shape(parse_size(f"scratch:{size}"), tokenizer.vocab_size, context=128)
    model = LlamaForCausalLM(LlamaConfig(**shape, **TOKEN_IDS))
    model.generation_config.eos_token_id = GENERATION_IDS["eos_token_id"]
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


if __name__ == "__main__":
    main()
