"""Sample several answers of a model to each position, and write preference pairs of a right answer and a wrong one.

    python attempts.py --model runs/mixed@best --prompts data/new_prompts.jsonl --output data/own_pairs.jsonl [--count 3] [--seed 0]

Each row is a prompt, `chosen`, an answer that ends in a best move, and `rejected`, one that does not: training data for dpo, orpo, kto and reward.
An answer is right if its move is a best one by full search, whatever its thought says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from generate import write_completion, write_prompt, write_rows
from judge import ModelPlayer, rate, read_positions


def main() -> None:
    options = parse_options()
    boards = read_positions(options.prompts)
    attempts = ModelPlayer(options.model).sample(boards, options.count, options.seed)
    rewards = [rate(board, text) for board, texts in zip(boards, attempts, strict=True) for text in texts]
    print(
        f"{len(rewards)} answers to {len(boards)} positions: {rewards.count(1.0) / len(rewards):.1%} end in a best move"
    )
    rows = own_pairs(zip(boards, attempts, strict=True), options.pairs)
    print(f"{write_rows(options.output, rows):6d} rows  {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="RUN", help="the model that answers")
    parser.add_argument("--prompts", type=Path, required=True, help="rows with a board")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--count", type=int, default=3, help="answers to each position")
    parser.add_argument("--pairs", type=int, default=1, help="maximum number of pairs from one position")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampling")
    return parser.parse_args()


def own_pairs(attempts: Iterable[tuple[str, Sequence[str]]], most: int) -> Iterator[dict]:
    """Pair wrong answers with right ones. Where no answer is right, the expert's answer is chosen; where none is wrong, there is no row."""
    for board, texts in attempts:
        distinct = list(dict.fromkeys(texts))
        right = [text for text in distinct if rate(board, text) == 1.0] or [write_completion(board)]
        wrong = [text for text in distinct if rate(board, text) < 1.0]
        for index, rejected in enumerate(wrong[:most]):
            yield {"prompt": write_prompt(board), "chosen": right[index % len(right)], "rejected": rejected}


if __name__ == "__main__":
    main()
