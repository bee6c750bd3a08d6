"""Let a model try each position several times, and write down where a right answer of its own stands beside a wrong one.

    python attempts.py --model runs/mixed@best --prompts data/new_prompts.jsonl --output data/own_pairs.jsonl [--count 3] [--seed 0]

Each row is a prompt, `chosen`, an answer that ends in a best move, and `rejected`, one that does not: what dpo, orpo, kto and reward learn from.
Who is right is not a matter of taste: full search says it of the move alone, whatever was thought before.
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
    worth = [rate(board, text) for board, texts in zip(boards, attempts, strict=True) for text in texts]
    print(f"{len(worth)} attempts at {len(boards)} positions: {worth.count(1.0) / len(worth):.1%} end in a best move")
    rows = own_pairs(zip(boards, attempts, strict=True), options.pairs)
    print(f"{write_rows(options.output, rows):6d} rows  {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="RUN", help="who tries")
    parser.add_argument("--prompts", type=Path, required=True, help="rows with a board")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--count", type=int, default=3, help="attempts at each position")
    parser.add_argument("--pairs", type=int, default=1, help="at most so many pairs from one position")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same attempts")
    return parser.parse_args()


def own_pairs(attempts: Iterable[tuple[str, Sequence[str]]], most: int) -> Iterator[dict]:
    """Right and wrong attempts side by side; the written right answer where no attempt was right, and no row where none was wrong."""
    for board, texts in attempts:
        distinct = list(dict.fromkeys(texts))
        right = [text for text in distinct if rate(board, text) == 1.0] or [write_completion(board)]
        wrong = [text for text in distinct if rate(board, text) < 1.0]
        for number, rejected in enumerate(wrong[:most]):
            yield {"prompt": write_prompt(board), "chosen": right[number % len(right)], "rejected": rejected}


if __name__ == "__main__":
    main()
