"""Thoughts before moves: written by a rule, or by a language model that is asked why a move is good.

Either way the move is chosen by full search; a model only explains it. Its thought is one paragraph, cut after `MOST_WORDS` words, and an answer that
is empty, or that ends in a move of its own, is replaced by the rule's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from game import mover

TEMPLATE, LLM = "template", "llm"
MOST_WORDS = 60
MAX_NEW_TOKENS = 96
RULES = (
    "This is tic-tac-toe. Cells are numbered 1 to 9 from left to right and from top to bottom. An empty cell shows its number. "
    "Three in a row, in a column or on a diagonal win."
)


def question(board: str, cell: int) -> str:
    """What the model is asked: why this player plays this cell."""
    words = [str(index + 1) if mark == "." else mark for index, mark in enumerate(board)]
    rows = "\n".join(" ".join(words[row : row + 3]) for row in (0, 3, 6))
    player = mover(board)
    return (
        f"{RULES}\n\n{rows}\n\nIt is the turn of {player}, who plays {cell + 1}. "
        f"Explain in one or two short sentences why {player} plays {cell + 1}."
    )


def ask(model: str, questions: Sequence[str]) -> list[str]:
    """The model's answers, by `autotrain llm --inference`: a model that was trained with a chat template is asked with it."""
    if not questions:
        return []
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder, "questions.jsonl")
        prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions), encoding="utf-8")
        words = ["--model", model, "--prompts", str(prompts), "--max-new-tokens", str(MAX_NEW_TOKENS)]
        command = [sys.executable, "-m", "autotrain_llm", "llm", "--inference", *words, "--format", "json"]
        answered = subprocess.run(command, capture_output=True, text=True, check=False)
    document = json.loads(answered.stdout or "{}")
    if document.get("status") != "ok":
        reasons = [finding["message"] for finding in document.get("findings", ())]
        raise SystemExit(f"--thought-model {model}: {'; '.join(reasons) or answered.stderr.strip()}")
    return [answer["text"] for answer in document["answers"]]


def as_thought(answer: str) -> str:
    """An answer as one line that can stand before a move; empty if it can't."""
    words = answer.split()[:MOST_WORDS]
    return " ".join(words) if words and words[-2:-1] != ["move"] else ""
