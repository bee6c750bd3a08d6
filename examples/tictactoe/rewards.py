"""The reward of an answer for ppo and grpo: the value of its move by full search.

    autotrain llm --trainer grpo … --data-path data/prompts.jsonl --rl-reward-fn examples/tictactoe/rewards.py:best_move

The column `board` of the rows has the position of each answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from judge import rate


def best_move(completions: Sequence[str], board: Sequence[str]) -> list[float]:
    """The reward of each completion: 1 if it ends in a best move, 0.2 if in another legal one, else 0."""
    return [rate(position, completion) for position, completion in zip(board, completions, strict=True)]
